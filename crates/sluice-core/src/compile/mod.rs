//! From rules to the table that the kernel reads. Host and tools only: it allocates.

mod rule;

pub use rule::{Conditions, Fragment, Icmp, Prefix, Rule, TcpFlags};

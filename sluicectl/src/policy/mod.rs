//! Policies: from a TOML file to the table that the driver takes.

mod checked;
pub(crate) mod commands;
mod described;
mod diagnostic;
mod explain;
mod file;
mod shadow;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use self::checked::load;

//! Network Module Registrar (NMR) providers and clients for Windows kernel drivers, safe by type.
//!
//! # NMR in ten lines
//!
//! NMR is a part of NETIO.SYS that brings drivers together. A *network programming interface* (NPI) is an identifier
//! and what goes with it: a table of functions for each side. A *provider* of the interface and a *client* of it
//! register with NMR under that identifier, in any order. NMR *offers* each client every provider. The client accepts
//! or refuses, then the provider; if both accept they are *attached*: they exchange dispatch tables and contexts, and
//! from then on call each other directly. That is a *binding*. When either of them *deregisters*, NMR tells both to
//! *detach*: to start no new calls, and to say when the calls that are in progress have ended. When both have, each
//! *cleans up* what it kept for the binding. A driver may be unloaded when the wait for all that has returned, and not
//! before.
//!
//! The library does what is easy to get wrong there: it owns the memory that NMR points to, counts the calls, decides
//! between STATUS_SUCCESS and STATUS_PENDING, completes once, and drops bindings at the end and not earlier. See
//! [`mistakes`] for the list, and [`coming_from_c`] for where each function and callback went.
//!
//! # An interface
//!
//! ```
//! # use nmr_registrar as _;
#![doc = include_str!("../examples/adding/interface.rs")]
//! ```
//!
//! # A provider
//!
//! ```
//! # use nmr_registrar as _;
//! # mod interface { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/adding/interface.rs")); }
#![doc = include_str!("../examples/adding/provider.rs")]
//! #
//! # struct Program;
//! # // SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
//! # unsafe impl Resident for Program {}
//! # fn main() {
//! # // SAFETY: the main thread of a program.
//! # let passive = unsafe { Passive::new() };
//! # let provider = entry(Program, passive).unwrap();
//! # assert_eq!(provider.clients().count(), 0);
//! # provider.deregister(passive).unwrap();
//! # }
//! ```
//!
//! # A client
//!
//! ```
//! # use nmr_registrar as _;
//! # mod interface { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/adding/interface.rs")); }
//! # mod provider { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/adding/provider.rs")); }
#![doc = include_str!("../examples/adding/client.rs")]
//! #
//! # struct Program;
//! # // SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
//! # unsafe impl Resident for Program {}
//! # fn main() {
//! # // SAFETY: the main thread of a program.
//! # let passive = unsafe { Passive::new() };
//! # let client = entry(Program, passive).unwrap();
//! # let provider = provider::entry(Program, passive).unwrap();
//! # assert_eq!(add_everywhere(&client, 3).collect::<Vec<_>>(), [3]);
//! # assert_eq!(add_everywhere(&client, 4).collect::<Vec<_>>(), [7]);
//! # provider.deregister(passive).unwrap();
//! # assert_eq!(add_everywhere(&client, 5).count(), 0);
//! # client.deregister(passive).unwrap();
//! # }
//! ```
//!
//! All three are compiled and run as they stand here, on any host, against a registrar that stands in for NETIO.SYS.
//! Together they are the example `adding`.
//!
//! Interfaces of others are in the same form. The examples `wsk` (a driver with sockets of Winsock Kernel), `xdp` (two
//! network cards that offer themselves to XDP for Windows) and `ebpf` (an extension of eBPF for Windows) are to be
//! copied from; each plays the other side, too, and runs on any host. [`a_driver`] has the rest of a driver around all
//! this, and [`calls_that_end_later`] both sides of an interface with pending calls.
//!
//! # What a driver has to bring
//!
//! * A global allocator whose memory is not paged, and a type that holds on to the driver's image: [`Resident`].
//! * [`Passive`] tokens, made by the unsafe code that knows: DriverEntry and DriverUnload.
//! * No thread of its own in the image when DriverUnload returns: see [`coming_from_c`].
//!
//! # What it costs
//!
//! A call into a peer is two locked additions beside the indirect call, with the guard [`Single`]. [`Sharded`] keeps
//! processors out of each other's cache lines. With [`PerProcessor`] a call at DISPATCH_LEVEL has no locked instruction
//! at all; the page [`unlocked_guard`] shows why that is enough. [`InCriticalRegion`] keeps a thread from being
//! suspended in a call, for drivers that call on the threads of programs.
//!
//! A call that comes in from a peer costs nothing: its binding and the module are found by adding to the context. Only
//! the end of a registration waits; only `register`, an attach and the end of a registration allocate or free. No
//! allocation failure and no input of a peer causes a panic.
//!
//! # Rules
//!
//! `R1` to `R74` in this documentation and in the source are the rules of NMR, as far as Microsoft's documentation and
//! shipping drivers show them; `docs/nmr-rules.md` of the repository has them all, with their sources. `M1` to `M28`
//! are the [`mistakes`] against them.
//!
//! # Versions
//!
//! The library follows semantic versioning. It builds with Rust 1.87 and later; a new minimum is a new minor version.
//! The layout of [`header`] has a version of its own.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate nmr_registrar as _;

mod client;
mod diagnosis;
mod guard;
#[cfg(doc)]
#[doc = include_str!("../docs/a-driver.md")]
#[doc = "```ignore"]
#[doc = include_str!("../examples/adding/driver.rs")]
#[doc = "```"]
#[doc = include_str!("../docs/around-a-driver.md")]
pub mod a_driver {}
#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/calls-that-end-later.md")]
pub mod calls_that_end_later {}
#[cfg(doc)]
#[doc = include_str!("../docs/coming-from-c.md")]
pub mod coming_from_c {}
pub mod header;
#[cfg(doc)]
#[doc = include_str!("../docs/mistakes.md")]
pub mod mistakes {}
#[cfg(doc)]
#[doc = include_str!("../docs/unlocked-guard.md")]
pub mod unlocked_guard {}
mod irql;
mod memory;
mod module_id;
mod npi;
mod offer;
mod part;
mod peer;
mod provider;
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
mod registration;
mod slab;
mod slot;
mod structure;
mod sync;
mod table;

#[doc(hidden)]
pub use client::ClientSide as __ClientSide;
pub use client::{
    AttachedProvider, AttachedProviderAtDispatch, AttachedProviders, Client, ClientCall, ClientRegistration,
    ClientTable, DeregisteringClient, HeldProvider, ProviderOffer,
};
pub use diagnosis::{Binding, BindingState, Bindings};
pub use guard::{
    AtDispatch, Count, CriticalRegion, DispatchGuard, Guard, InCriticalRegion, PerProcessor, Processors, Region,
    ShardIndex, Sharded, Single,
};
pub use irql::{AtPassiveLevel, Dispatch, InAttach, Passive};
pub use module_id::ModuleId;
pub use npi::{ID_AT_RUN_TIME, Npi};
pub use offer::{Offer, Refusal};
pub use part::{Extensible, Field, Ignored, Optional, Part, StructureRef};
pub use peer::{HeldPeer, Peer, Peers};
#[doc(hidden)]
pub use provider::ProviderSide as __ProviderSide;
pub use provider::{
    AttachedClient, AttachedClientAtDispatch, AttachedClients, ClientOffer, DeregisteringProvider, HeldClient,
    Provider, ProviderCall, ProviderRegistration, ProviderTable,
};
pub use registration::{Leaked, RegisterError, RegistrationOptions, Resident};
pub use structure::{NpiStructure, StructureError, VersionAndSize};
pub use table::{ByHand, Plain, by_hand};
#[doc(hidden)]
pub use table::{entry as __entry, null as __null, table as __own_table, value as __value};
pub use wdk_nmr_sys::{GUID, NPIID, NTSTATUS, guid};

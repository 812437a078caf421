//! Callout drivers of the Windows Filtering Platform (WFP), safe by type.
//!
//! WFP asks a *callout*, a function of a driver, what to do with a packet. It shows the packet as NDIS has it: a
//! NET_BUFFER_LIST, which others see at the same time, whose bytes lie in a chain of MDLs.
//!
//! * A [`Callout`] is a type of the driver; its [`Registration`] unregisters it and waits before it goes.
//! * A [`Session`] adds what makes packets come to it: provider, sublayer, callout and filters, in one
//!   [transaction](Session::transaction).
//! * A [`Classification`] is what it is shown, for the time of one call.
//! * [`Packets`] and [`Packet`] are what a callout needs of that: the bytes from the first header on, in one piece.
//! * [`Scratch`] is memory that a call borrows, without an allocation; of [`GatherBuffers`], to bring bytes together
//!   that lie apart.
//! * [`Answer`] is what a callout says; [`Answer::write_to`] says it as far as it has the right to.
//!
//! The page [`a_callout_driver`] has a whole driver.
//!
//! Everything here may be called at up to DISPATCH_LEVEL unless it asks for a token of [`Passive`]. Nothing here panics
//! on what a packet contains. Nothing has run on Windows yet: `W1` and so on in this documentation are the rules of
//! `docs/wfp-rules.md` in the repository, with their sources and how sure each is.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;
#[cfg(test)]
extern crate wfp_engine as _;

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/a-callout-driver.md")]
#[doc = include_str!("../examples/no_telnet/driver.rs")]
/// #
/// # fn main() {
/// #     let engine = wfp_engine::Engine::start();
/// #     // SAFETY: the main thread of a program is in no callback.
/// #     let passive = unsafe { Passive::new() };
/// #     // SAFETY: the engine never looks at the device.
/// #     let device = unsafe { Device::new(core::ptr::dangling_mut()) };
/// #     drop(start(device, passive).ok().unwrap());
/// #     assert_eq!((engine.registered(), engine.objects()), (0, [0; 4]));
/// # }
/// ```
#[doc = include_str!("../docs/around-it.md")]
pub mod a_callout_driver {}
mod answer;
mod callout;
mod layer;
mod packet;
mod scratch;
mod session;
mod view;

pub use answer::{Answer, Rights};
pub use callout::{Callout, Device, Home, Registration};
pub use layer::Layer;
pub use packet::{Bytes, MAX_MDLS, Malformed, Packet, Packets};
pub use scratch::{Borrowed, GatherBuffer, GatherBuffers, Scratch};
#[doc(hidden)]
pub use session::utf16;
pub use session::{Filter, Lifetime, Name, Provider, Session, Sublayer, Transaction};
pub use view::Classification;
pub use wdk_nmr::Passive;
pub use wdk_wfp_sys::{GUID, NTSTATUS};

//! What a driver with providers or clients of [`wdk_nmr`] needs of the Windows Driver Model (WDM).
//!
//! | the library asks for | here |
//! | --- | --- |
//! | [`Resident`](wdk_nmr::Resident): what keeps the image, and the allocator, for as long as NMR may call | [`DriverImage`] |
//! | a registration that is deregistered, not dropped | [`Running`]: where DriverEntry leaves it for DriverUnload |
//! | [`CriticalRegion`](wdk_nmr::CriticalRegion): calls in which a thread is not suspended | [`KernelRegion`] |
//! | [`ShardIndex`](wdk_nmr::ShardIndex), [`Processors`](wdk_nmr::Processors): counts by processor | [`KernelProcessors`] |
//! | [`Dispatch`](wdk_nmr::Dispatch): the word that a thread is at DISPATCH_LEVEL | [`at_dispatch_level`] |
//!
//! With them a driver is
//!
//! ```ignore
//! static RUNNING: Running<ProviderRegistration<Adder, DriverImage>> = Running::new();
//!
//! // In DriverEntry, as the last thing that can fail. Running is empty, since DriverEntry is called once.
//! let registration = provider::entry(unsafe { DriverImage::hold(driver) }, unsafe { Passive::new() })?;
//! let _ = RUNNING.put(registration);
//!
//! // In DriverUnload. It waits until all clients are done.
//! let _ = RUNNING.take().map(|registration| registration.deregister(unsafe { Passive::new() }));
//! ```
//!
//! The module `a_driver` of wdk-nmr's documentation shows the whole of it, with the allocator and the entry points.
//!
//! # The kernel
//!
//! The crate declares the functions of ntoskrnl.exe that it calls, and depends on no version of wdk-sys. A driver is
//! linked with the kernel's import library anyway; wdk-build sees to that. Without it the linker names what is missing:
//! `ObfReferenceObject`, for example. A test on another host defines those that it reaches.
#![no_std]

mod image;
mod kernel;
mod processors;
mod region;
mod running;

pub use image::DriverImage;
pub use processors::{KernelProcessors, at_dispatch_level};
pub use region::KernelRegion;
pub use running::Running;

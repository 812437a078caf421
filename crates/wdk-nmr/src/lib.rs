//! Safe Network Module Registrar providers and clients.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate nmr_registrar as _;

mod client;
mod diagnosis;
mod guard;
pub mod header;
mod identity;
mod irql;
mod memory;
mod npi;
mod peer;
mod provider;
mod registration;
mod slab;
mod slot;
mod sync;
mod table;

pub use client::{
    AttachedProvider, AttachedProviders, Client, ClientCall, ClientRegistration, ClientTable, DeregisteringClient,
    HeldProvider, ProviderOffer,
};
pub use diagnosis::{Binding, BindingState, Bindings};
pub use guard::{Guard, ShardIndex, Sharded, Single};
pub use identity::{ModuleId, Offer, Refusal};
pub use irql::{AtPassiveLevel, InAttach, Passive};
pub use npi::{Form, Npi, NpiStructure, StructureError};
pub use peer::{HeldPeer, Peer, Peers};
pub use provider::{
    AttachedClient, AttachedClients, ClientOffer, DeregisteringProvider, HeldClient, Provider, ProviderCall,
    ProviderRegistration, ProviderTable,
};
pub use registration::{Identity, Leaked, RegisterError, Resident};
pub use table::Plain;
#[doc(hidden)]
pub use table::plain as __plain;
pub use wdk_nmr_sys::{GUID, NPIID, NTSTATUS};

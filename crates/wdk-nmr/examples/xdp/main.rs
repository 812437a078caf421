//! Two network cards that offer themselves to XDP for Windows. [`interface`] has the interface, [`client`] the driver;
//! the part of XDP, which is not here, is played by a provider that asks what XDP asks. `tests/foreign_xdp.rs` is for
//! those who have XDP's sources: there, XDP's own provider attaches to these cards.

#![allow(unreachable_pub, reason = "the modules are shown as they would be in a driver")]

mod client;
mod interface;

use core::ffi::c_void;
use core::ptr;

use interface::{BINDING_VERSION, GetInterfaceDispatch, InterfaceDispatch, Version, Xdp};
use nmr_registrar::{Session, Strictness};
use wdk_nmr::{
    ClientOffer, GUID, ModuleId, NTSTATUS, Passive, Provider, ProviderRegistration, ProviderTable, Refusal,
    RegistrationOptions, Resident, Single, field,
};

/// Holds nothing, since a program stays where it is. A driver holds a reference to its DRIVER_OBJECT.
struct Program;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

/// XDP as far as one interface is concerned: attaches to the client of that index and module id.
struct XdpProvider {
    client: ModuleId,
    interface_index: u32,
}

/// What XDP takes from a client's table.
struct Attached {
    context: *mut c_void,
    dispatch: GetInterfaceDispatch,
    versions: Vec<Version>,
}

// SAFETY: the address is used as the client says, on any thread.
unsafe impl Send for Attached {}
// SAFETY: the address is used as the client says, on any thread.
unsafe impl Sync for Attached {}

impl Provider for XdpProvider {
    type Npi = Xdp;
    type Binding = Attached;
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        ProviderTable::none()
    }

    fn attach(&self, client: &ClientOffer<'_, Xdp>) -> Result<Attached, Refusal> {
        /// STATUS_NOT_SUPPORTED
        const NOT_SUPPORTED: Refusal = match Refusal::from_status(0xC000_00BB_u32.cast_signed()) {
            Some(refusal) => refusal,
            None => Refusal::INVALID_PARAMETER,
        };
        if client.version() != BINDING_VERSION {
            return Err(NOT_SUPPORTED);
        }
        if client.number() != self.interface_index {
            return Err(Refusal::INVALID_PARAMETER);
        }
        if client.module_id()? != self.client {
            return Err(Refusal::NO_INTERFACE);
        }
        let capabilities = client.characteristics()?;
        let offset = capabilities.get(field!(interface::Capabilities, driver_api_versions_offset));
        let count = capabilities.get(field!(interface::Capabilities, driver_api_version_count));
        let list = offset.zip(count).and_then(|(offset, count)| capabilities.slice(*offset as usize, *count as usize));
        let versions = list.ok_or(Refusal::INVALID_PARAMETER)?.to_vec();
        let table = client.dispatch();
        Ok(Attached { context: table.get_interface_context, dispatch: table.get_interface_dispatch, versions })
    }
}

impl Attached {
    /// Asks the client for its table of a version.
    fn interface(&self, version: Version) -> Result<(*mut c_void, &InterfaceDispatch), NTSTATUS> {
        let (mut context, mut dispatch) = (ptr::null_mut(), ptr::null());
        // SAFETY: the context came with the function, and the client is attached.
        let status = unsafe { (self.dispatch)(&raw const version, self.context, &raw mut context, &raw mut dispatch) };
        if status != 0 {
            return Err(status);
        }
        // SAFETY: the client has returned its table, which stays while it is attached.
        Ok((context, unsafe { &*dispatch.cast::<InterfaceDispatch>() }))
    }
}

fn xdp(client: ModuleId, interface_index: u32, passive: Passive<'_>) -> ProviderRegistration<XdpProvider, Program> {
    let options = RegistrationOptions::new(client, ()).version(BINDING_VERSION).number(interface_index);
    ProviderRegistration::register(XdpProvider { client, interface_index }, options, Program, passive)
        .expect("registered")
}

fn main() {
    // XDP's version of registration instances is not the 0 that the documentation of NMR asks for.
    let session = Session::new();
    session.set_strictness(Strictness::Lenient);
    // SAFETY: threads of a program are at PASSIVE_LEVEL, and this is no callback.
    let passive = unsafe { Passive::new() };
    let ids = [0x11, 0x22].map(|id| GUID { Data1: id, ..GUID::default() });
    let [first, second] = ids.map(|id| client::register(id.Data1, id, Program, passive).expect("registered"));

    // XDP opens the second card. The first one is offered as well, and refused because of its index.
    let provider = xdp(ModuleId::Guid(ids[1]), 0x22, passive);
    assert_eq!(provider.clients().count(), 1);
    let card = provider.clients().next().expect("the second card");
    let version = card.binding().versions[0];
    assert_eq!(card.binding().interface(Version { major: 9, ..version }).err(), Some(0xC000_00BB_u32.cast_signed()));
    let (context, dispatch) = card.binding().interface(version).expect("the version that the card has");
    let (open, close) = (dispatch.open_interface.expect("there"), dispatch.close_interface.expect("there"));
    // SAFETY: the context came with the table.
    assert_eq!(unsafe { open(context, ptr::null_mut()) }, 0);
    println!("opened: {} and {}", first.client().opened(), second.client().opened());
    assert_eq!((first.client().opened(), second.client().opened()), (0, 1), "each table leads to its own card");
    // SAFETY: opened before.
    unsafe { close(context) };
    assert_eq!(second.client().opened(), 0);
    drop(card);

    // One XDP at a time for a card, and another one after that.
    let other = xdp(ModuleId::Guid(ids[1]), 0x22, passive);
    assert_eq!(other.clients().count(), 0);
    other.deregister(passive).expect("deregistered");
    provider.deregister(passive).expect("deregistered");
    let other = xdp(ModuleId::Guid(ids[1]), 0x22, passive);
    assert_eq!(other.clients().count(), 1);
    for card in [first, second] {
        card.deregister(passive).expect("deregistered");
    }
    other.deregister(passive).expect("deregistered");
}

#[test]
fn the_example_runs() {
    main();
}

//! XDP's own provider, src/nmr of XDP for Windows, and the client of the example `xdp` in one program. XDP opens and
//! closes an interface, and the driver leaves while XDP has it open.

#![allow(dead_code, unreachable_pub, reason = "of the example's modules, and for them")]

#[path = "../../../examples/xdp/client.rs"]
mod client;
#[path = "../../../examples/xdp/interface.rs"]
mod interface;

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use interface::{GetInterfaceDispatch, InterfaceDispatch, Version};
use nmr_registrar::{Session, Strictness};
use nmr_registrar_c as _;
use wdk_nmr::{GUID, NTSTATUS, Passive, Resident};

/// What XDP takes with it into its detach handler.
#[derive(Default)]
struct Xdp {
    /// XDP_PROVIDER_HANDLE.
    provider: AtomicPtr<c_void>,
    detached: AtomicUsize,
}

// xdpnmrprovider.h
unsafe extern "C" {
    fn XdpOpenProvider(
        interface_index: u32,
        client: *const GUID,
        context: *const Xdp,
        detach_handler: unsafe extern "C" fn(*const Xdp),
        get_interface_context: *mut *mut c_void,
        get_interface_dispatch: *mut Option<GetInterfaceDispatch>,
        provider: *mut *mut c_void,
    ) -> NTSTATUS;
    fn XdpCloseProvider(provider: *mut c_void);
    fn XdpCleanupProvider(provider: *mut c_void);
}

/// Holds nothing, since a program stays where it is.
struct Program;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

/// XDP is told that its client goes, once. It does the rest on a thread of its own.
unsafe extern "C" fn detach_handler(xdp: *const Xdp) {
    // SAFETY: the context of `open`, which outlives the provider.
    unsafe { &*xdp }.detached.fetch_add(1, Ordering::SeqCst);
}

/// What XDP knows of an interface that it has opened.
struct Opened {
    context: *mut c_void,
    dispatch: &'static InterfaceDispatch,
}

fn open(xdp: &Xdp, interface_index: u32, client: GUID) -> Result<Opened, NTSTATUS> {
    let (mut get_context, mut get_dispatch, mut provider) = (ptr::null_mut(), None, ptr::null_mut());
    // SAFETY: `xdp` outlives the provider; the rest are places for the results.
    let status = unsafe {
        XdpOpenProvider(
            interface_index,
            &raw const client,
            xdp,
            detach_handler,
            &raw mut get_context,
            &raw mut get_dispatch,
            &raw mut provider,
        )
    };
    if status != 0 {
        return Err(status);
    }
    xdp.provider.store(provider, Ordering::SeqCst);
    let get_dispatch = get_dispatch.expect("a function came with success");
    let version = Version { major: 1, minor: 0, patch: 0 };
    let (mut context, mut dispatch) = (ptr::null_mut(), ptr::null());
    // SAFETY: context and function are those of the client, which is attached.
    let status = unsafe { get_dispatch(&raw const version, get_context, &raw mut context, &raw mut dispatch) };
    assert_eq!(status, 0);
    // SAFETY: the client's table, which stays while it is registered.
    Ok(Opened { context, dispatch: unsafe { &*dispatch.cast() } })
}

impl Xdp {
    fn provider(&self) -> *mut c_void {
        self.provider.load(Ordering::SeqCst)
    }

    fn detached(&self) -> usize {
        self.detached.load(Ordering::SeqCst)
    }
}

impl Opened {
    fn open_interface(&self) {
        let open = self.dispatch.open_interface.expect("the card has it");
        // SAFETY: the context came with the table.
        assert_eq!(unsafe { open(self.context, ptr::null_mut()) }, 0);
    }

    fn close_interface(&self) {
        let close = self.dispatch.close_interface.expect("the card has it");
        // SAFETY: the context came with the table, and the interface is open.
        unsafe { close(self.context) };
    }
}

fn main() {
    const NO_INTERFACE: NTSTATUS = 0xC000_02B9_u32.cast_signed();
    // XDP's version of registration instances is not 0 (R12), and it completes detaches that nobody began (R48).
    let session = Session::new();
    session.set_strictness(Strictness::Lenient);
    // SAFETY: threads of a program are at PASSIVE_LEVEL, and this is no callback.
    let passive = unsafe { Passive::new() };
    let ids = [0x11, 0x22].map(|id| GUID { Data1: id, ..GUID::default() });
    let [first, second] = ids.map(|id| client::register(id.Data1, id, Program, passive).expect("registered"));

    // An interface that nobody has, one under the identifier of another, and then the right ones.
    assert_eq!(open(&Xdp::default(), 0x33, ids[0]).err(), Some(NO_INTERFACE));
    assert_eq!(open(&Xdp::default(), 0x22, ids[0]).err(), Some(NO_INTERFACE));
    let (one, other) = (Xdp::default(), Xdp::default());
    let opened = [open(&one, 0x11, ids[0]), open(&other, 0x22, ids[1])].map(|opened| opened.expect("opened"));
    assert_eq!(session.report().bindings.len(), 2);
    opened[1].open_interface();
    assert_eq!((first.client().opened(), second.client().opened()), (0, 1), "each table leads to its own card");
    assert_eq!(open(&Xdp::default(), 0x22, ids[1]).err(), Some(NO_INTERFACE), "one XDP at a time");

    // XDP closes the first card, and opens it again.
    // SAFETY: a provider that is open.
    unsafe { XdpCloseProvider(one.provider()) };
    // SAFETY: a provider that is closed, for the last time.
    unsafe { XdpCleanupProvider(one.provider()) };
    assert_eq!((one.detached(), session.report().bindings.len()), (1, 1));
    let again = Xdp::default();
    open(&again, 0x11, ids[0]).expect("opened again");

    // The driver of the second card leaves while XDP has it open: it waits until XDP is done.
    thread::scope(|scope| {
        let leaving = scope.spawn(|| {
            // SAFETY: threads of a program are at PASSIVE_LEVEL, and this is no callback.
            second.deregister(unsafe { Passive::new() })
        });
        while other.detached() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!leaving.is_finished(), "XDP has the interface open");
        opened[1].close_interface();
        // SAFETY: a provider whose client goes, for the last time.
        unsafe { XdpCleanupProvider(other.provider()) };
        leaving.join().expect("no panic").expect("deregistered");
    });
    assert_eq!(other.detached(), 1);

    // SAFETY: a provider that is open.
    unsafe { XdpCloseProvider(again.provider()) };
    // SAFETY: a provider that is closed, for the last time.
    unsafe { XdpCleanupProvider(again.provider()) };
    first.deregister(passive).expect("deregistered");
    let left = session.report();
    assert!(left.is_empty(), "{left}");
    println!("XDP's provider attached to the clients three times, and is gone");
}

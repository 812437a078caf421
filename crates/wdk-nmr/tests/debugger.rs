//! What `debug/wdk_nmr.js` shows in WinDbg, shown here of the structures of this program: Node runs the script, and
//! asks for memory. Without Node these tests do nothing but say so.

use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nmr_registrar::Session;
use wdk_nmr::header::{ChunkHeader, RegistrationHeader, SlotHeader};
use wdk_nmr::{
    BindingState, Client, ClientOffer, ClientRegistration, ClientTable, GUID, ModuleId, Passive, Provider,
    ProviderOffer, ProviderRegistration, ProviderTable, Refusal, RegistrationOptions, Resident, ShardIndex, Sharded,
    Single, VersionAndSize, by_hand, provider_table,
};

mod interface {
    #![allow(missing_docs, unreachable_pub, reason = "it is an example's")]
    include!("../examples/adding/interface.rs");
}
use interface::{Adding, AddingDispatch};

/// Holds the program, which is there anyway.
struct Program;

// SAFETY: a program is never unloaded while it runs, and its memory is aligned as asked for.
unsafe impl Resident for Program {}

fn passive<'a>() -> Passive<'a> {
    // SAFETY: the tests register and deregister on threads of their own, at PASSIVE_LEVEL.
    unsafe { Passive::new() }
}

/// The context of the last call, which is a slot of the provider.
static CONTEXT: AtomicUsize = AtomicUsize::new(0);

unsafe extern "system" fn add(context: *mut c_void, number: u32) -> u32 {
    CONTEXT.store(context.expose_provenance(), Ordering::SeqCst);
    number
}

struct Adder;

impl Provider for Adder {
    type Npi = Adding;
    type Binding = u64;
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(
            Self,
            AddingDispatch {
                header: VersionAndSize::of::<AddingDispatch>(1),
                // SAFETY: the function takes any context.
                add: unsafe { by_hand(add) },
            }
        )
    }

    fn attach(&self, _: &ClientOffer<'_, Adding>) -> Result<u64, Refusal> {
        Ok(1)
    }
}

struct FirstShard;

impl ShardIndex for FirstShard {
    fn current() -> usize {
        0
    }
}

struct Counter;

impl Client for Counter {
    type Npi = Adding;
    type Binding = u64;
    type Guard = Sharded<FirstShard, 4>;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Adding>) -> Result<u64, Refusal> {
        Ok(1)
    }
}

const PROVIDER_ID: ModuleId = ModuleId::Guid(GUID {
    Data1: 0xb302_fe84,
    Data2: 0xec62,
    Data3: 0x4627,
    Data4: [0x99, 0x6b, 0xfe, 0x90, 0xda, 0xdd, 0xcf, 0xb2],
});
const CLIENT_ID: ModuleId = ModuleId::IfLuid(0x8000_0001_0000_0002);

/// The memory that a registration consists of, as address and size. Nothing else is read for the script.
fn memory_of(registration: *const RegistrationHeader) -> Vec<(usize, usize)> {
    let mut places = vec![(registration.addr(), size_of::<RegistrationHeader>())];
    // SAFETY: the registration is one of this test's, and alive.
    let registration = unsafe { &*registration };
    let mut next = registration.chunks.load(Ordering::Acquire);
    while !next.is_null() {
        places.push((next.addr(), size_of::<ChunkHeader>()));
        // SAFETY: chunks stay as long as the registration.
        let chunk = unsafe { &*next };
        places.push((chunk.slots.addr(), chunk.capacity * usize::try_from(registration.slot_size).unwrap()));
        next = chunk.next.load(Ordering::Acquire);
    }
    places
}

fn read(places: &[(usize, usize)], address: usize, size: usize) -> Option<u64> {
    let end = address.checked_add(size)?;
    places.iter().find(|(start, length)| *start <= address && end <= start + length)?;
    let pointer = core::ptr::with_exposed_provenance::<u8>(address);
    let mut bytes = [0; 8];
    for (index, byte) in bytes.iter_mut().take(size).enumerate() {
        // SAFETY: within one of the places.
        let place = unsafe { pointer.add(index) };
        // SAFETY: it is memory of this program. Another thread may write to it, as where a debugger reads.
        *byte = unsafe { place.read_volatile() };
    }
    Some(u64::from_le_bytes(bytes))
}

/// Node, if it is installed.
fn node() -> Option<Command> {
    let is_there = Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok();
    is_there.then(|| Command::new("node"))
}

/// What the script says.
fn ask(places: &[(usize, usize)], arguments: &[String]) -> Vec<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = node().unwrap();
    command.arg(here.join("tests/debugger.js")).arg(here.join("debug/wdk_nmr.js")).args(arguments);
    let mut node = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = node.stdin.take().unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(node.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(question) = line.strip_prefix("read ") {
            let (address, size) = question.split_once(' ').unwrap();
            let number = read(places, address.parse().unwrap(), size.parse().unwrap());
            writeln!(answers, "{}", number.map_or_else(|| "none".to_owned(), |number| number.to_string())).unwrap();
        } else {
            said.push(line.strip_prefix("line ").unwrap_or(&line).to_owned());
        }
    }
    assert!(node.wait().unwrap().success());
    said
}

fn at(address: usize) -> Vec<String> {
    vec!["at".to_owned(), address.to_string()]
}

#[test]
fn windbg_shows_who_is_attached_and_who_holds_a_detach_up() {
    if node().is_none() {
        eprintln!("not tested: node is not installed");
        return;
    }
    let _session = Session::new();
    let provider =
        ProviderRegistration::register(Adder, RegistrationOptions::new(PROVIDER_ID, ()), Program, passive()).unwrap();
    let client =
        ClientRegistration::register(Counter, RegistrationOptions::new(CLIENT_ID, ()), Program, passive()).unwrap();
    let call = |number| {
        let peer = client.providers().next().unwrap();
        // SAFETY: the context came with the table.
        peer.call(|table, context| unsafe { (table.add)(context, number) })
    };
    assert_eq!(call(7), 7);

    let slot = core::ptr::with_exposed_provenance::<SlotHeader>(CONTEXT.load(Ordering::SeqCst));
    // SAFETY: the context of a binding that is attached is a slot.
    let registration = unsafe { (*slot).registration };
    let mut places = memory_of(registration);
    let said = ask(&places, &at(slot.addr()));
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said[0].starts_with(&format!("provider registration {registration:p}, ")), "{said:#?}");
    assert!(said[0].ends_with(": 1 of 4 slots used"), "{said:#?}");
    let line = format!("  attached {slot:p}, peer interface 8000000100000002, binding ");
    assert!(said[1].starts_with(&line), "{said:#?}");
    assert_eq!(said[2], "    0 calls into the peer in progress");
    assert_eq!(ask(&places, &at(registration.addr())), said);

    // The client's slot is the peer's context: 24 bytes into the provider's.
    let peer = read(&places, slot.addr() + 24, 8).unwrap() as usize;
    // SAFETY: the context of a binding that is attached is a slot.
    let peer_registration = unsafe { (*core::ptr::with_exposed_provenance::<SlotHeader>(peer)).registration };
    places.extend(memory_of(peer_registration));
    let held = [0; 3].map(|_| client.providers().next().unwrap().hold());
    let said = ask(&places, &at(peer));
    assert!(said[0].starts_with(&format!("client registration {peer_registration:p}, ")), "{said:#?}");
    assert!(said[1].contains("peer {b302fe84-ec62-4627-996b-fe90daddcfb2}, "), "{said:#?}");
    assert_eq!(said[2], "    3 calls into the peer in progress");

    // A memory that points to both, among words that are no pointers.
    let driver = [1, registration.addr(), 0, usize::MAX, peer_registration.addr(), peer];
    places.push((driver.as_ptr().expose_provenance(), size_of_val(&driver)));
    let search = ["in".to_owned(), driver.as_ptr().addr().to_string(), size_of_val(&driver).to_string()];
    let found = ask(&places, &search);
    let roles: Vec<&str> = found.iter().filter(|line| !line.starts_with(' ')).map(|line| &line[..8]).collect();
    assert_eq!(roles, ["provider", "client r"]);

    // The provider leaves, and the client has calls in progress.
    thread::scope(|scope| {
        scope.spawn(|| provider.deregister(passive()).unwrap());
        while client.bindings().all(|binding| binding.state != BindingState::Draining) {
            thread::yield_now();
        }
        let said = ask(&places, &at(peer));
        assert!(said[1].starts_with("  draining "), "{said:#?}");
        assert_eq!(said[2], "    this driver holds the detach up: 3 calls into the peer in progress");
        drop(held);
    });
    let said = ask(&memory_of(peer_registration), &at(peer_registration.addr()));
    assert!(said[0].ends_with(": 0 of 4 slots used"), "{said:#?}");

    // What is no registration is said to be none.
    let nothing = [0_u64; 8];
    let places = [(nothing.as_ptr().expose_provenance(), size_of_val(&nothing))];
    let said = ask(&places, &at(nothing.as_ptr().addr()));
    assert!(matches!(&said[..], [line] if line.starts_with("error: expected a registration or a slot")), "{said:#?}");
    client.deregister(passive()).unwrap();
}

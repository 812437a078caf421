//! What the tests share: a host in the place of the kernel, with a disk that fails when told to, clients, and requests.

use std::cell::Cell;
use std::fmt::Write;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use sluice_control::message::{ClientStatus, PolicyAnswer, PolicyRequest, Status, header_of};
use sluice_control::settings::OnPolicyError;
use sluice_control::status::STATUS_SUCCESS;
use sluice_control::wire::Wire;
use sluice_control::{Buffered, Buffers, Completion, NTSTATUS, Request, RequestHandler, SharedBytes, code};
use sluice_core::compile::{Conditions, Rule, compile};
use sluice_core::{Action, RuleAction};
use sluice_engine::{DEFAULT_TABLE_LIMIT, Engine, Event, Machine, RunningEngine, Storage};
use sluice_npi::{
    CallSluice, ClientCharacteristics, Failed, Header, PacketRef, SluiceClient, SluiceNpi, Verdict, client_dispatch,
    direction, link_type,
};
use sluice_swap::Processors;
use wdk_nmr::{
    Client, ClientCall, ClientRegistration, ClientTable, CriticalRegion, GUID, ModuleId, Passive, ProviderOffer,
    Refusal, Region, RegistrationOptions, Resident, Single,
};

/// What happens to the next use of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Read,
    Replace,
}

/// The status of every fault: STATUS_DISK_FULL.
pub(crate) const BROKEN: NTSTATUS = 0xC000_007F_u32.cast_signed();

/// A disk with one file, which stays when the driver is stopped.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) persisted: Mutex<Option<Vec<u8>>>,
    pub(crate) fault: Mutex<Option<Fault>>,
}

impl Disk {
    fn fails(&self, fault: Fault) -> Result<(), NTSTATUS> {
        let mut next = self.fault.lock().unwrap();
        next.take_if(|next| *next == fault).map_or(Ok(()), |_| Err(BROKEN))
    }
}

impl Storage for Disk {
    fn read(&self, limit: usize) -> Result<Option<Vec<u8>>, NTSTATUS> {
        self.fails(Fault::Read)?;
        let persisted = self.persisted.lock().unwrap().clone();
        assert!(persisted.as_ref().is_none_or(|file| file.len() <= limit), "a test persists more than the limit");
        Ok(persisted)
    }

    fn replace(&self, parts: &[&[u8]]) -> Result<(), NTSTATUS> {
        assert!(Regions::depth() > 0, "a thread that is suspended here holds up all that change the policy");
        self.fails(Fault::Replace)?;
        *self.persisted.lock().unwrap() = Some(parts.concat());
        Ok(())
    }
}

thread_local! {
    static REGIONS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// The critical regions of this thread.
pub(crate) struct Regions;

impl Regions {
    /// In how many the thread is.
    pub(crate) fn depth() -> usize {
        REGIONS.get().0
    }

    /// How many it has entered so far.
    pub(crate) fn entered() -> usize {
        REGIONS.get().1
    }
}

impl CriticalRegion for Regions {
    fn enter() -> bool {
        let (depth, entered) = REGIONS.get();
        REGIONS.set((depth + 1, entered + 1));
        true
    }

    fn leave() {
        let (depth, entered) = REGIONS.get();
        REGIONS.set((depth - 1, entered));
    }
}

// SAFETY: no reader goes without being counted, so nothing is promised about processors.
unsafe impl Processors for Regions {
    type Region = Region<Self>;

    fn enter() -> Option<Region<Self>> {
        Some(Region::enter())
    }

    fn visit_each() {}
}

/// The machine: what belongs to it stays when the driver is stopped.
#[derive(Clone, Default)]
pub(crate) struct Host {
    pub(crate) disk: Arc<Disk>,
    pub(crate) now_ms: Arc<AtomicU64>,
    /// The events, as Rust shows them.
    pub(crate) events: Arc<Mutex<String>>,
}

impl Host {
    /// The events since the last call, a line each.
    pub(crate) fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock().unwrap()).lines().map(str::to_owned).collect()
    }
}

impl Machine for Host {
    type Storage = Disk;
    type Region = Regions;
    type Processors = Regions;

    fn processors(&self) -> usize {
        2
    }
    fn processor(&self) -> usize {
        0
    }
    fn uptime_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }
    fn pause(&self) {
        assert!(Regions::depth() > 0, "a thread that is suspended here holds up all that change the policy");
        thread::yield_now();
    }
    fn storage(&self) -> &Disk {
        &self.disk
    }
    fn report(&self, event: &Event<'_>) {
        writeln!(self.events.lock().unwrap(), "{event:?}").unwrap();
    }
}

pub(crate) struct Process;

// SAFETY: the image is the test program, which stays; its allocator gives memory that suits any layout.
unsafe impl Resident for Process {}

pub(crate) fn passive() -> Passive<'static> {
    // SAFETY: tests run at PASSIVE_LEVEL and call this outside callbacks.
    unsafe { Passive::new() }
}

pub(crate) type Started = RunningEngine<Host, Process>;

pub(crate) fn start() -> Started {
    start_on(&Host::default())
}

pub(crate) fn start_on(host: &Host) -> Started {
    let engine = Engine::start(host.clone(), DEFAULT_TABLE_LIMIT, OnPolicyError::DoNotStart).expect("no policy error");
    run(engine)
}

/// One that puts names together in `memory` bytes.
pub(crate) fn start_assembling(memory: usize) -> Started {
    let engine = Engine::start(Host::default(), DEFAULT_TABLE_LIMIT, OnPolicyError::DoNotStart);
    run(engine.and_then(|engine| engine.assembling(memory, 1)).expect("there is memory"))
}

/// Registers an engine that has started.
pub(crate) fn run(engine: Engine<Host>) -> Started {
    let registration = engine.register(Process, || 0, passive()).expect("the registrar takes a provider");
    RunningEngine::new(registration, [1, 2, 3, 0])
}

/// A client that notes what it is told.
#[derive(Default)]
pub(crate) struct Listener {
    pub(crate) announced: Mutex<Vec<u64>>,
}

impl Client for Listener {
    type Npi = SluiceNpi;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        client_dispatch()
    }

    fn attach(&self, _: &ProviderOffer<'_, SluiceNpi>) -> Result<(), Refusal> {
        Ok(())
    }
}

impl SluiceClient for Listener {
    fn policy_changed(call: &ClientCall<'_, Self>, generation: u64) {
        call.client().announced.lock().unwrap().push(generation);
    }
}

pub(crate) type Registered = ClientRegistration<Listener, Process>;

pub(crate) fn attach(name: &str) -> Registered {
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    let header = Header::of::<ClientCharacteristics>();
    let characteristics = ClientCharacteristics { header, driver_version: 5, name: bytes };
    let module_id = ModuleId::Guid(GUID { Data1: 0xC11E47, ..GUID::default() });
    ClientRegistration::register(
        Listener::default(),
        RegistrationOptions::new(module_id, characteristics),
        Process,
        passive(),
    )
    .expect("the registrar takes a client")
}

/// A UDP datagram to `port`, as raw IPv4.
pub(crate) fn datagram(port: u16) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..20].copy_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    bytes[22..24].copy_from_slice(&port.to_be_bytes());
    bytes[24..26].copy_from_slice(&8_u16.to_be_bytes());
    bytes
}

fn packet(bytes: &[u8]) -> PacketRef<'_> {
    PacketRef::new(link_type::IPV4, direction::INBOUND, bytes, bytes.len() as u32).unwrap()
}

pub(crate) fn classify(client: &Registered, ports: &[u16]) -> Result<Vec<Verdict>, Failed> {
    let bytes: Vec<_> = ports.iter().map(|port| datagram(*port)).collect();
    let packets: Vec<_> = bytes.iter().map(|bytes| packet(bytes)).collect();
    let mut room = vec![MaybeUninit::uninit(); packets.len()];
    let sluice = client.providers().next().expect("attached");
    sluice.classify(&packets, &mut room).map(<[Verdict]>::to_vec)
}

/// Classifies packets of raw IPv4 in one call.
pub(crate) fn classify_bytes<const COUNT: usize>(client: &Registered, packets: &[Vec<u8>; COUNT]) -> [Verdict; COUNT] {
    let packets = packets.each_ref().map(|bytes| packet(bytes));
    let mut room = [const { MaybeUninit::uninit() }; COUNT];
    let sluice = client.providers().next().expect("attached");
    sluice.classify(&packets, &mut room).expect("packets that are in order").try_into().unwrap()
}

/// A SYN, and the two segments of a request that names bad.example in the second.
pub(crate) fn name_in_two_segments() -> [Vec<u8>; 3] {
    let request = b"GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n";
    let segment = |number: u32, tcp_flags: u8, payload: &[u8]| {
        let length = (40 + payload.len() as u16).to_be_bytes();
        let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet.extend([0xC0, 0, 0, 80]);
        packet.extend(number.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0x50, tcp_flags, 0xFF, 0xFF, 0, 0, 0, 0]);
        packet.extend(payload);
        packet
    };
    [segment(6, 0x02, &[]), segment(7, 0x18, &request[..25]), segment(32, 0x18, &request[25..])]
}

/// A table that blocks packets with the name bad.example, by rule `id`.
pub(crate) fn blocking_name(id: u32) -> Vec<u8> {
    let conditions = Conditions { names: vec!["bad.example".into()], ..Conditions::default() };
    compile(&[Rule { id, action: RuleAction::Block, conditions }], Action::Permit).unwrap()
}

/// A table that blocks datagrams to `port`, by rule `id`.
pub(crate) fn blocking(port: u16, id: u32) -> Vec<u8> {
    let conditions = Conditions { destination_ports: vec![port..=port], ..Conditions::default() };
    compile(&[Rule { id, action: RuleAction::Block, conditions }], Action::Permit).unwrap()
}

/// A table that logs datagrams to `port`, by rule `id`, and then blocks them, by the next one.
pub(crate) fn logging(port: u16, id: u32) -> Vec<u8> {
    let rule = |id, action| {
        let conditions = Conditions { destination_ports: vec![port..=port], ..Conditions::default() };
        Rule { id, action, conditions }
    };
    compile(&[rule(id, RuleAction::Log), rule(id + 1, RuleAction::Block)], Action::Permit).unwrap()
}

/// Sends a request as sluicectl and the I/O manager do, with room for `room` bytes of answer.
pub(crate) fn request(device: &impl RequestHandler, code: u32, input: &[u8], room: usize) -> (NTSTATUS, Vec<u8>) {
    const METHOD_OUT_DIRECT: u32 = 2;
    let (mut buffer, input, room) = if code::has_message_in_output(code) {
        (input.to_vec(), &[][..], input.len())
    } else {
        (Vec::new(), input, room)
    };
    let buffers = if code & 3 == METHOD_OUT_DIRECT {
        buffer.resize(room, 0);
        Buffers::Direct { input, shared: SharedBytes::new(&mut buffer) }
    } else {
        // What lies behind the input is another program's.
        buffer.extend_from_slice(input);
        buffer.resize(input.len().max(room), 0xEE);
        // SAFETY: the buffer has just been made for these lengths.
        Buffers::Buffered(unsafe { Buffered::from_system_buffer(buffer.as_mut_ptr(), input.len(), room) })
    };
    let Completion { status, information } = device.answer(Request { code, buffers });
    assert!(information <= room, "{information} bytes of answer where there is room for {room}");
    buffer.truncate(information);
    (status, buffer)
}

/// A message about the policy, with these flags.
pub(crate) fn policy_message(table: &[u8], flags: u32) -> Vec<u8> {
    let header = header_of::<PolicyRequest>();
    let fixed_part = PolicyRequest { header, flags, table_length: table.len() as u32, reserved: 0 };
    let mut message = vec![0; PolicyRequest::SIZE];
    fixed_part.write(&mut message.as_mut_slice()).unwrap();
    message.extend_from_slice(table);
    message
}

/// Sends a request about the policy, with these flags.
fn policy_request(engine: &Started, code: u32, table: &[u8], flags: u32) -> NTSTATUS {
    request(engine, code, &policy_message(table, flags), PolicyAnswer::SIZE).0
}

pub(crate) fn load(engine: &Started, table: &[u8], flags: u32) -> NTSTATUS {
    policy_request(engine, code::SLUICE_POLICY_LOAD, table, flags)
}

pub(crate) fn clear(engine: &Started, flags: u32) -> NTSTATUS {
    policy_request(engine, code::SLUICE_POLICY_CLEAR, &[], flags)
}

pub(crate) fn status(engine: &Started) -> (Status, Vec<ClientStatus>) {
    let (status, answer) = request(engine, code::SLUICE_STATUS, &[], 4096);
    assert_eq!(status, STATUS_SUCCESS);
    let mut rest = answer.as_slice();
    let fixed = Status::read(&mut rest).unwrap();
    let clients = (0..fixed.clients_listed).map(|_| ClientStatus::read(&mut rest).unwrap()).collect();
    (fixed, clients)
}

//! Callouts, filters and sessions against a strict engine. Mistakes that drivers have shipped with are tests by name.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use wdk_wfp::{
    Answer, Callout, Classification, Device, Filter, GUID, Home, Layer, Lifetime, Malformed, Name, Passive, Provider,
    Registration, Rights, Session, Sublayer, name,
};
use wdk_wfp_sys::*;
use wfp_engine::{DISPATCH_LEVEL, Engine, Indication, PacketList, Piece, Verdict, irql};

const PROVIDER: Provider = Provider { key: GUID::from_u128(1), name: name!("Tests") };
const SUBLAYER: Sublayer = Sublayer { key: GUID::from_u128(2), name: name!("Tests"), weight: 100 };
const LOWER: Sublayer = Sublayer { key: GUID::from_u128(3), name: name!("Tests, lower"), weight: 10 };
const NAME: Name = name!("Test");
/// Where a test fails if nothing happens.
const PATIENCE: Duration = Duration::from_secs(30);

type Says = dyn Fn(&Classification<'_>) -> Answer + Send + Sync;

/// What a test has a callout say, and how many of them there are.
struct Scripted<const N: usize> {
    says: Box<Says>,
    alive: Arc<AtomicUsize>,
}

impl<const N: usize> Drop for Scripted<N> {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

macro_rules! scripted {
    ($($number:literal at $layer:ident),*) => {
        $(impl Callout for Scripted<$number> {
            const KEY: GUID = GUID::from_u128(100 + $number);
            const LAYER: Layer = Layer::$layer;

            fn home() -> &'static Home<Self> {
                static HOME: Home<Scripted<$number>> = Home::new();
                &HOME
            }

            fn classify(&self, shown: &Classification<'_>) -> Answer {
                (self.says)(shown)
            }
        })*
    };
}
scripted!(0 at OutboundIpV4, 1 at OutboundIpV4, 2 at InboundIpV4, 3 at InboundEthernet);

/// A device object: never looked at.
static DEVICE: u64 = 0;

fn passive() -> Passive<'static> {
    // SAFETY: the thread of a test is in no callback.
    unsafe { Passive::new() }
}

fn register<const N: usize>(
    alive: &Arc<AtomicUsize>,
    says: impl Fn(&Classification<'_>) -> Answer + Send + Sync + 'static,
) -> Result<Registration<Scripted<N>>, NTSTATUS>
where
    Scripted<N>: Callout,
{
    alive.fetch_add(1, Ordering::SeqCst);
    let value = Scripted { says: Box::new(says), alive: alive.clone() };
    // SAFETY: the device is a static, and tests drop registrations at PASSIVE_LEVEL.
    let device = unsafe { Device::new(ptr::from_ref(&DEVICE).cast_mut().cast()) };
    Registration::register(value, device, passive())
}

fn open(lifetime: Lifetime) -> Session {
    Session::open(NAME, lifetime, passive()).unwrap()
}

/// Everything that makes packets come to callout `N`, in both sublayers' order.
fn add<const N: usize>(session: &mut Session, sublayer: Sublayer, filter: Filter) -> Result<(), NTSTATUS>
where
    Scripted<N>: Callout,
{
    session.transaction(passive(), |changes| {
        match changes.add_provider(PROVIDER) {
            Ok(()) | Err(STATUS_FWP_ALREADY_EXISTS) => {}
            Err(status) => return Err(status),
        }
        changes.add_sublayer(sublayer, &PROVIDER)?;
        changes.add_callout::<Scripted<N>>(NAME, &PROVIDER)?;
        changes.add_filter::<Scripted<N>>(filter, &PROVIDER)
    })
}

fn filter(key: u128, sublayer: Sublayer) -> Filter {
    Filter::new(GUID::from_u128(key), NAME, sublayer.key)
}

fn value(number: u32) -> FWPS_INCOMING_VALUE0 {
    FWPS_INCOMING_VALUE0 { value: FWP_VALUE0 { r#type: FWP_UINT32, Anonymous: FWP_VALUE0_0 { uint32: number } } }
}

/// Metadata that say where the header begins.
fn metadata(ip_header: Option<u32>, mac_header: Option<u32>) -> FWPS_INCOMING_METADATA_VALUES0 {
    // SAFETY: numbers, and pointers that may be NULL.
    let mut metadata: FWPS_INCOMING_METADATA_VALUES0 = unsafe { std::mem::zeroed() };
    if let Some(size) = ip_header {
        metadata.currentMetadataValues = FWPS_METADATA_FIELD_IP_HEADER_SIZE;
        metadata.ipHeaderSize = size;
    }
    if let Some(size) = mac_header {
        metadata.currentL2MetadataValues = FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE;
        metadata.ethernetMacHeaderSize = size;
    }
    metadata
}

/// Sends one packet through a layer: values by index 0, 1, ..., the list as it is.
fn send(
    engine: &Engine,
    layer: Layer,
    flags: u32,
    metadata: &FWPS_INCOMING_METADATA_VALUES0,
    list: *mut NET_BUFFER_LIST,
) -> Verdict {
    let mut values = vec![value(0); 16];
    if let Some(index) = layer.flags() {
        values[index] = value(flags);
    }
    values[layer.interface_index()] = value(7);
    engine.classify(Indication { layer: &layer.key(), values: &values, flags: layer.flags(), metadata, list })
}

fn send_out(engine: &Engine) -> Verdict {
    let list = PacketList::of(&[Piece::mapped(&[1; 40])], 0);
    send(engine, Layer::OutboundIpV4, 0, &metadata(None, None), list.as_ptr())
}

fn passed(asked: usize) -> Verdict {
    Verdict { passes: true, absorbed: false, asked }
}

#[test]
fn a_callout_sees_what_its_filter_lets_it_see_and_its_answer_counts() {
    let engine = Engine::start();
    let alive = Arc::default();
    let callout = register::<0>(&alive, |shown| {
        assert_eq!((shown.layer(), shown.rights(), shown.filter_context()), (Layer::OutboundIpV4, Rights::Full, 9));
        assert_eq!((shown.interface_index(), shown.is_loopback()), (Some(7), Some(false)));
        let packet = shown.packets().unwrap().next().unwrap();
        if packet.bytes(&mut []).unwrap().data()[0] == 1 { Answer::Block { silently: true } } else { Answer::Permit }
    })
    .unwrap();
    let mut session = open(Lifetime::Dynamic);
    add::<0>(&mut session, SUBLAYER, filter(10, SUBLAYER).context(9).leave_loopback_alone()).unwrap();
    assert_eq!(send_out(&engine), Verdict { passes: false, absorbed: true, asked: 1 });
    let list = PacketList::of(&[Piece::mapped(&[2; 40])], 0);
    assert_eq!(send(&engine, Layer::OutboundIpV4, 0, &metadata(None, None), list.as_ptr()), passed(1));
    let loopback = FWP_CONDITION_FLAG_IS_LOOPBACK;
    assert_eq!(send(&engine, Layer::OutboundIpV4, loopback, &metadata(None, None), list.as_ptr()), passed(0));
    let at_dispatch = irql::raise(DISPATCH_LEVEL);
    assert!(!send_out(&engine).passes);
    drop(at_dispatch);
    session.close(passive());
    assert_eq!(engine.objects(), [0; 4], "a dynamic session leaves nothing behind");
    callout.unregister(passive());
    assert_eq!((engine.registered(), alive.load(Ordering::SeqCst)), (0, 0));
}

/// WinDivert #110: the list was moved back to the header, and others saw it.
#[test]
fn a_shared_list_is_not_retreated() {
    let engine = Engine::start();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let alive = Arc::default();
    let callout = register::<2>(&alive, move |shown| {
        let packet = shown.packets().unwrap().next().unwrap();
        let mut gather = [0; 64];
        kept.lock().unwrap().push(packet.bytes(&mut gather).unwrap().data().to_vec());
        Answer::Continue
    })
    .unwrap();
    let mut session = open(Lifetime::Dynamic);
    add::<2>(&mut session, SUBLAYER, filter(10, SUBLAYER)).unwrap();
    let packet: Vec<u8> = (0..50).collect();
    for cut in 0..=packet.len() {
        let list = PacketList::of(&[Piece::mapped(&packet[..cut]), Piece::mapped(&packet[cut..])], 20);
        // The engine compares the list before and after (W13).
        assert!(send(&engine, Layer::InboundIpV4, 0, &metadata(Some(20), None), list.as_ptr()).passes);
        assert_eq!(seen.lock().unwrap().pop().unwrap(), packet, "from the IP header on, cut at {cut}");
    }
    session.close(passive());
    callout.unregister(passive());
    assert_eq!(engine.take_violations(), []);
}

/// npcap #341: a classification was still running when the driver had unregistered its callout and gone on.
#[test]
fn a_classification_in_progress_is_waited_for() {
    let engine = Engine::start();
    let alive: Arc<AtomicUsize> = Arc::default();
    let (entered, has_entered) = mpsc::channel();
    let (leave, may_leave) = mpsc::channel::<()>();
    let may_leave = Mutex::new(may_leave);
    let alive_inside = alive.clone();
    let callout = register::<0>(&alive, move |_| {
        entered.send(()).unwrap();
        may_leave.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(alive_inside.load(Ordering::SeqCst), 1, "the callout is gone while it is being asked");
        Answer::Permit
    })
    .unwrap();
    let mut session = open(Lifetime::Dynamic);
    add::<0>(&mut session, SUBLAYER, filter(10, SUBLAYER)).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| send_out(&engine));
        has_entered.recv_timeout(PATIENCE).unwrap();
        let unregistering = scope.spawn(|| {
            drop(callout);
            is_over.store(true, Ordering::SeqCst);
        });
        while engine.registered() != 0 {
            thread::yield_now();
        }
        // The engine has forgotten the callout, and its value stays as long as it is being asked.
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(1));
            assert!(!is_over.load(Ordering::SeqCst) && alive.load(Ordering::SeqCst) == 1);
        }
        leave.send(()).unwrap();
        assert_eq!(sender.join().unwrap(), passed(1));
        unregistering.join().unwrap();
    });
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    session.close(passive());
}

#[test]
fn w8_a_callout_that_is_busy_is_unregistered_when_it_is_not() {
    let engine = Engine::start();
    let alive: Arc<AtomicUsize> = Arc::default();
    let callout = register::<0>(&alive, |_| Answer::Permit).unwrap();
    engine.busy(3);
    callout.unregister(passive());
    assert_eq!((engine.registered(), alive.load(Ordering::SeqCst)), (0, 0));
}

/// ebpf-for-windows #5486, #5496: filters outlived their callout, and the machine was cut off.
#[test]
fn filters_that_outlive_their_callout_permit_unless_told_otherwise() {
    let engine = Engine::start();
    let alive = Arc::default();
    let callout = register::<0>(&alive, |_| Answer::Block { silently: false }).unwrap();
    let mut session = open(Lifetime::Persistent);
    add::<0>(&mut session, SUBLAYER, filter(10, SUBLAYER)).unwrap();
    assert!(!send_out(&engine).passes);
    callout.unregister(passive());
    session.close(passive());
    engine.reboot();
    assert_eq!(engine.objects(), [1; 4], "persistent objects are still there");
    assert_eq!(send_out(&engine), passed(0));
    let mut session = open(Lifetime::Persistent);
    let strict = filter(11, SUBLAYER).weight(15).block_if_unregistered();
    session.transaction(passive(), |changes| changes.add_filter::<Scripted<0>>(strict, &PROVIDER)).unwrap();
    assert!(!send_out(&engine).passes);
    let key = GUID::from_u128;
    let everything = session.transaction(passive(), |changes| {
        assert_eq!(changes.delete_callout::<Scripted<0>>(), Err(STATUS_FWP_IN_USE));
        changes.delete_filter(&key(10))?;
        changes.delete_filter(&key(11))?;
        changes.delete_callout::<Scripted<0>>()?;
        changes.delete_sublayer(&SUBLAYER.key)?;
        changes.delete_provider(&PROVIDER.key)
    });
    assert_eq!((everything, engine.objects()), (Ok(()), [0; 4]));
    session.close(passive());
}

/// ebpf-for-windows #1272: unregistered in another order than registered, with traffic all the time.
#[test]
fn every_order_of_ending_works_under_traffic() {
    for callout_first in [true, false] {
        let engine = Engine::start();
        let alive = Arc::default();
        let callout = register::<0>(&alive, |_| Answer::Permit).unwrap();
        let mut session = open(Lifetime::Dynamic);
        add::<0>(&mut session, SUBLAYER, filter(10, SUBLAYER)).unwrap();
        let is_over = AtomicBool::new(false);
        let sent = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        assert!(send_out(&engine).passes);
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let wait = |more| {
                let target = sent.load(Ordering::Relaxed) + more;
                let began = Instant::now();
                while sent.load(Ordering::Relaxed) < target {
                    // The threads would send for ever if this one failed.
                    if began.elapsed() > PATIENCE {
                        is_over.store(true, Ordering::Relaxed);
                        panic!("no packets pass any more");
                    }
                    thread::yield_now();
                }
            };
            wait(20);
            if callout_first {
                callout.unregister(passive());
                wait(20);
                session.close(passive());
            } else {
                session.close(passive());
                wait(20);
                callout.unregister(passive());
            }
            wait(20);
            is_over.store(true, Ordering::Relaxed);
        });
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }
}

/// ebpf-for-windows #2012: lists were cloned or held and never given back. A callout is lent a list and can do neither:
/// what it is shown ends with the call, which is a test of `Classification` that does not compile, and after the call
/// the list is as it was.
#[test]
fn a_list_is_never_held() {
    let engine = Engine::start();
    let alive = Arc::default();
    let callout = register::<0>(&alive, |shown| {
        let all = shown.packets().unwrap().map(|packet| packet.wire_length().unwrap()).sum::<u32>();
        if all == 3 { Answer::Permit } else { Answer::Block { silently: false } }
    })
    .unwrap();
    let mut session = open(Lifetime::Dynamic);
    add::<0>(&mut session, SUBLAYER, filter(10, SUBLAYER)).unwrap();
    let mut list = PacketList::new();
    list.add_packet(&[Piece::mapped(&[1])], 0, 1);
    list.add_packet(&[Piece::mapped(&[1, 2])], 0, 2);
    assert!(send(&engine, Layer::OutboundIpV4, 0, &metadata(None, None), list.as_ptr()).passes);
    // SAFETY: the list lives for the test.
    let after = unsafe { *list.as_ptr() };
    assert_eq!((after.ChildRefCount, after.ParentNetBufferList), (0, ptr::null_mut()), "not cloned");
    session.close(passive());
    drop(callout);
    drop(list);
}

/// Windows-driver-samples #464: calls at the wrong level. The types ask for PASSIVE_LEVEL, and the engine tells when
/// somebody has vouched for it wrongly.
#[test]
fn w7_functions_of_the_engine_are_called_at_passive_level() {
    let engine = Engine::start();
    let at_dispatch = irql::raise(DISPATCH_LEVEL);
    drop(Session::open(NAME, Lifetime::Dynamic, passive()));
    drop(at_dispatch);
    let rules: Vec<u8> = engine.take_violations().iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [7, 7], "opened and closed");
}

#[test]
fn w1_sublayers_of_more_weight_come_first_and_a_block_is_final() {
    let engine = Engine::start();
    let alive = Arc::default();
    let rights = Arc::new(Mutex::new(Vec::new()));
    let first = register::<0>(&alive, |_| Answer::Block { silently: false }).unwrap();
    let kept = rights.clone();
    let second = register::<1>(&alive, move |shown| {
        kept.lock().unwrap().push(shown.rights());
        Answer::Permit
    })
    .unwrap();
    let mut session = open(Lifetime::Dynamic);
    add::<1>(&mut session, LOWER, filter(11, LOWER)).unwrap();
    add::<0>(&mut session, SUBLAYER, filter(10, SUBLAYER)).unwrap();
    assert!(!send_out(&engine).passes, "the lower sublayer permits in vain");
    assert_eq!(*rights.lock().unwrap(), [Rights::None]);
    session.close(passive());
    drop((first, second));
}

#[test]
fn w4_a_permit_without_the_right_is_vetoed_by_a_block_alone() {
    let engine = Engine::start();
    let alive = Arc::default();
    let says = Arc::new(Mutex::new(Answer::Continue));
    let first = register::<0>(&alive, |_| Answer::Permit).unwrap();
    let script = says.clone();
    let second = register::<1>(&alive, move |shown| {
        assert_eq!(shown.rights(), Rights::Veto);
        *script.lock().unwrap()
    })
    .unwrap();
    let mut session = open(Lifetime::Dynamic);
    add::<1>(&mut session, LOWER, filter(11, LOWER)).unwrap();
    add::<0>(&mut session, SUBLAYER, filter(10, SUBLAYER).clear_action_right()).unwrap();
    assert_eq!(send_out(&engine), passed(2));
    *says.lock().unwrap() = Answer::Permit;
    assert_eq!(send_out(&engine), passed(2));
    *says.lock().unwrap() = Answer::Block { silently: false };
    assert!(!send_out(&engine).passes);
    session.close(passive());
    drop((first, second));
}

#[test]
fn a_transaction_that_fails_changes_nothing() {
    let engine = Engine::start();
    let mut session = open(Lifetime::Dynamic);
    engine.fail("FwpmFilterAdd0", STATUS_INSUFFICIENT_RESOURCES);
    assert_eq!(add::<0>(&mut session, SUBLAYER, filter(10, SUBLAYER)), Err(STATUS_INSUFFICIENT_RESOURCES));
    assert_eq!(engine.objects(), [0; 4]);
    assert_eq!(add::<0>(&mut session, SUBLAYER, filter(10, LOWER)), Err(STATUS_FWP_SUBLAYER_NOT_FOUND));
    assert_eq!(engine.objects(), [0; 4]);
    // The session goes on.
    assert_eq!(add::<0>(&mut session, SUBLAYER, filter(10, SUBLAYER)), Ok(()));
    assert_eq!(engine.objects(), [1; 4]);
    session.close(passive());
}

#[test]
fn w18_a_filter_of_frames_has_no_condition_on_flags() {
    let engine = Engine::start();
    let mut session = open(Lifetime::Dynamic);
    // Asked for all the same: a filter that goes to several layers.
    assert_eq!(add::<3>(&mut session, LOWER, filter(11, LOWER).leave_loopback_alone()), Ok(()));
    assert_eq!(add::<2>(&mut session, SUBLAYER, filter(10, SUBLAYER).leave_loopback_alone()), Ok(()));
    assert_eq!(engine.objects(), [1, 2, 2, 2]);
    session.close(passive());
}

#[test]
fn a_registration_that_fails_drops_its_callout_and_another_can_follow() {
    let engine = Engine::start();
    let alive: Arc<AtomicUsize> = Arc::default();
    engine.fail("FwpsCalloutRegister2", STATUS_INSUFFICIENT_RESOURCES);
    assert_eq!(register::<0>(&alive, |_| Answer::Permit).err(), Some(STATUS_INSUFFICIENT_RESOURCES));
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    let callout = register::<0>(&alive, |_| Answer::Permit).unwrap();
    assert_eq!(register::<0>(&alive, |_| Answer::Permit).err(), Some(STATUS_FWP_ALREADY_EXISTS));
    assert_eq!((alive.load(Ordering::SeqCst), engine.registered()), (1, 1));
    callout.unregister(passive());
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn what_is_missing_or_of_the_wrong_type_is_said_and_no_fault() {
    let engine = Engine::start();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let alive = Arc::default();
    let kept = seen.clone();
    let ip = register::<2>(&alive, move |shown| {
        assert_eq!(shown.value(16), None, "beyond the values");
        kept.lock().unwrap().push(shown.packets().map(drop));
        Answer::Permit
    })
    .unwrap();
    let kept = seen.clone();
    let ethernet = register::<3>(&alive, move |shown| {
        assert_eq!(shown.is_loopback(), None);
        let mut gather = [0; 64];
        let length = shown.packets().and_then(|mut packets| packets.next().unwrap().bytes(&mut gather));
        kept.lock().unwrap().push(length.map(drop));
        Answer::Permit
    })
    .unwrap();
    let mut session = open(Lifetime::Dynamic);
    add::<2>(&mut session, SUBLAYER, filter(10, SUBLAYER)).unwrap();
    add::<3>(&mut session, LOWER, filter(11, LOWER)).unwrap();
    let list = PacketList::of(&[Piece::mapped(&[1; 40])], 14);
    let none = metadata(None, None);
    let expect = |layer, metadata: &_, list, result: Result<(), Malformed>| {
        assert!(send(&engine, layer, 0, metadata, list).passes);
        assert_eq!(seen.lock().unwrap().pop(), Some(result));
    };
    expect(Layer::InboundIpV4, &none, list.as_ptr(), Err(Malformed::NoMetadata));
    expect(Layer::InboundIpV4, &metadata(Some(14), None), ptr::null_mut(), Err(Malformed::NoList));
    expect(Layer::InboundIpV4, &metadata(Some(14), None), PacketList::new().as_ptr(), Err(Malformed::NoBuffers));
    expect(Layer::InboundEthernet, &none, list.as_ptr(), Err(Malformed::NoMetadata));
    expect(Layer::InboundEthernet, &metadata(None, Some(14)), list.as_ptr(), Ok(()));
    let outside = Malformed::HeaderOutsideChain { before_data: 15, data_offset: 14 };
    expect(Layer::InboundEthernet, &metadata(None, Some(15)), list.as_ptr(), Err(outside));
    session.close(passive());
    drop((ip, ethernet));
}

#[test]
fn a_value_of_another_type_is_not_read_as_a_number() {
    let engine = Engine::start();
    let alive = Arc::default();
    let callout = register::<2>(&alive, |shown| {
        let known = shown.interface_index().is_some();
        if known { Answer::Permit } else { Answer::Block { silently: false } }
    })
    .unwrap();
    let mut session = open(Lifetime::Dynamic);
    add::<2>(&mut session, SUBLAYER, filter(10, SUBLAYER)).unwrap();
    let metadata = metadata(Some(0), None);
    let layer = Layer::InboundIpV4.key();
    let mut values = vec![value(0); 16];
    let index = Layer::InboundIpV4.interface_index();
    values[index].value.r#type = FWP_UINT64;
    values[index].value.Anonymous.uint64 = ptr::without_provenance_mut(8);
    let classify = |values: &[_]| {
        let list = ptr::null_mut();
        engine.classify(Indication { layer: &layer, values, flags: None, metadata: &metadata, list }).passes
    };
    assert!(!classify(&values), "another type");
    assert!(!classify(&values[..index]), "fewer values");
    values[index] = value(7);
    assert!(classify(&values));
    session.close(passive());
    drop(callout);
}

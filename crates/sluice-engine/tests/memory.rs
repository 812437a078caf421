//! How much memory a request about a policy takes: a table lies in it once.

#[allow(dead_code, reason = "the other tests use more of it")]
#[path = "engine/host.rs"]
mod host;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use nmr_registrar::Session;
use sluice_control::status::STATUS_SUCCESS;
use sluice_control::{Buffers, Request, RequestHandler, SharedBytes, code};
use sluice_core::compile::{Conditions, Rule, compile};
use sluice_core::{Action, RuleAction};

use crate::host::{passive, policy_message, start};

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator, and numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How much more is allocated during `work` than before it.
fn peak_of(work: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    work();
    PEAK.load(Ordering::Relaxed) - before
}

// One test: others would allocate meanwhile.
#[test]
fn a_policy_is_loaded_in_its_own_size_and_read_in_none() {
    const REST: usize = 1 << 10;
    let rules: Vec<_> = (0..5000_u16)
        .map(|number| {
            let conditions = Conditions { destination_ports: vec![number..=number], ..Conditions::default() };
            Rule { id: u32::from(number) + 1, action: RuleAction::Block, conditions }
        })
        .collect();
    let table = compile(&rules, Action::Permit).unwrap();
    assert!(table.len() > 100 * REST, "a table of {} bytes proves nothing", table.len());
    let _session = Session::new();
    let engine = start();
    let send = |code, mut buffer: Vec<u8>, expected: &[u8]| {
        let peak = peak_of(|| {
            let buffers = Buffers::Direct { input: &[], shared: SharedBytes::new(&mut buffer) };
            assert_eq!(engine.answer(Request { code, buffers }).status, STATUS_SUCCESS);
        });
        assert_eq!(&buffer[16..], expected);
        peak
    };
    let load = send(code::SLUICE_POLICY_LOAD, policy_message(&table, 0), &table);
    // A counter for each rule and for the default, for two processors at two levels and for calls that are not alone;
    // between the sets of them lie two cache lines.
    let counters = 5 * (rules.len() + 1 + 16) * 8;
    assert!(load <= table.len() + counters + REST, "{load} bytes for a table of {}", table.len());
    let read = send(code::SLUICE_POLICY_READ, vec![0; 16 + table.len()], &table);
    assert!(read <= REST, "{read} bytes to read a table");
    engine.deregister(passive()).unwrap();
}

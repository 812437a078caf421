//! What a crash dump is told.

use std::sync::atomic::Ordering;

use nmr_registrar::Session;
use sluice_control::dump::{Dump, DumpBinding, MAGIC, VERSION};
use sluice_control::message::{Status, header_of};
use sluice_control::status::STATUS_SUCCESS;
use sluice_control::wire::Wire;
use sluice_npi::action;

use crate::host::{Host, attach, blocking, load, passive, start_on};

#[test]
fn a_dump_has_the_status_the_registration_and_its_bindings() {
    let _session = Session::new();
    let host = Host::default();
    let engine = start_on(&host);
    let clients = [attach("one"), attach("two")];
    let table = blocking(53, 11);
    assert_eq!(load(&engine, &table, 0), STATUS_SUCCESS);
    host.now_ms.store(2500, Ordering::Relaxed);

    let mut bytes = [0xEE; 1024];
    let length = engine.dump(3, &mut bytes);
    assert_eq!(length, Dump::SIZE + 2 * DumpBinding::SIZE);
    assert!(bytes[length..].iter().all(|byte| *byte == 0xEE));
    let mut rest = &bytes[..length];
    let dump = Dump::read(&mut rest).unwrap();
    assert_eq!((dump.magic, dump.version, dump.missed_entries), (MAGIC, VERSION, 3));
    // The block begins as wdk_nmr::header says: magic number, layout version and role, slot size.
    assert_eq!(dump.block[0], u64::from_le_bytes(*b"WdkNmrRg"));
    assert_eq!(dump.block[1], 1 << 32 | 1, "a provider");
    assert!(dump.block[2] >= 72 && dump.block[3] != 0 && dump.block[4] != 0 && dump.registration != 0);
    let status = dump.status;
    assert_eq!(status.header, header_of::<Status>());
    assert_eq!((status.generation, status.rule_count, status.default_action), (1, 1, action::PERMIT));
    assert_eq!((status.table_length as usize, status.uptime), (table.len(), 2500));
    assert_eq!((status.clients_total, status.clients_listed), (2, 2));
    for _ in &clients {
        let binding = DumpBinding::read(&mut rest).unwrap();
        assert_eq!((binding.state, binding.calls, binding.detaching), (2, 0, 0), "attached");
        assert_ne!(binding.module_id.value, [0; 16]);
    }

    // What has no room is counted, and nothing is cut in the middle.
    let mut short = [0; Dump::SIZE + 2 * DumpBinding::SIZE - 1];
    let length = engine.dump(0, &mut short);
    assert_eq!(length, Dump::SIZE + DumpBinding::SIZE);
    let status = Dump::read(&mut &short[..]).unwrap().status;
    assert_eq!((status.clients_total, status.clients_listed), (2, 1));
    assert_eq!(engine.dump(0, &mut short[..Dump::SIZE - 1]), 0);

    for client in clients {
        client.deregister(passive()).unwrap();
    }
    engine.deregister(passive()).unwrap();
}

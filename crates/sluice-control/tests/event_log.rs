//! The messages of the System log, and everything that has to agree with them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sluice_control::event_log::{MESSAGES, Message, Severity};

fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

/// The numbers of the strings in a text.
fn strings(message: Message) -> BTreeSet<u32> {
    message.text.split('%').skip(1).map(|rest| rest[..1].parse().expect("a number behind %")).collect()
}

#[test]
fn messages_are_numbered_and_say_by_their_code_how_serious_they_are() {
    for (number, message) in (1..).zip(MESSAGES) {
        assert_eq!(message.number(), number);
        let severity = match message.code >> 28 {
            0x6 => Severity::Information,
            0xA => Severity::Warning,
            0xE => Severity::Error,
            other => panic!("{other:#x} has not the customer bit and a severity"),
        };
        assert_eq!(message.severity(), severity);
    }
}

#[test]
fn the_strings_of_a_message_begin_with_the_second_and_leave_none_out() {
    for message in MESSAGES {
        let used = strings(message);
        let expected: BTreeSet<u32> = (2..).take(used.len()).collect();
        assert_eq!(used, expected, "{}", message.text);
    }
}

#[test]
fn the_inf_file_registers_the_driver_as_the_source_of_every_kind_of_entry() {
    let inf = file("inf/sluice.inx");
    assert!(inf.contains("AddService = sluice,,Sluice.Service,Sluice.EventLog\n"));
    assert!(inf.contains("[Sluice.EventLog]\nAddReg = Sluice.EventLog.Values\n"));
    let values = inf.split("[Sluice.EventLog.Values]\n").nth(1).unwrap();
    let value = |name: &str| {
        let line = values.lines().find(|line| line.starts_with(&format!("HKR,,{name},"))).unwrap();
        line.split(';').next().unwrap().trim_end().to_owned()
    };
    assert_eq!(value("EventMessageFile"), r#"HKR,,EventMessageFile,0x00020000,"%13%\sluice.sys""#);
    // EVENTLOG_ERROR_TYPE, EVENTLOG_WARNING_TYPE and EVENTLOG_INFORMATION_TYPE.
    assert_eq!(value("TypesSupported"), "HKR,,TypesSupported,0x00010001,7");
}

#[test]
fn the_documentation_lists_the_messages() {
    let page = file("docs/windows.md");
    for message in MESSAGES {
        let row = format!("| {} | {:?} | {} |", message.number(), message.severity(), message.text);
        assert!(page.contains(&row), "docs/windows.md has no row\n{row}");
    }
}

#[test]
fn whoever_makes_the_service_by_hand_is_told_the_same_values() {
    let page = file("docs/windows.md");
    assert!(page.contains(r"$source = 'HKLM\SYSTEM\CurrentControlSet\Services\EventLog\System\sluice'"));
    for arguments in
        [r"/v EventMessageFile /t REG_EXPAND_SZ /d C:\sluice\sluice.sys", "/v TypesSupported /t REG_DWORD /d 7"]
    {
        assert!(page.contains(&format!("reg add $source {arguments} /f")), "{arguments}");
    }
}

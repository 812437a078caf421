//! Holds the documentation to what programs get: the tests here and those of the command line use it.

use serde_json::Value;

const PAGES: [&str; 3] =
    [include_str!("../../docs/control.md"), include_str!("../../docs/policy.md"), include_str!("../../docs/gate.md")];

/// Members whose own members are data: ids of rules, link types, reasons.
const KEYS_ARE_DATA: [&str; 3] = ["left_out", "rules", "widened"];

/// What the documentation says of the JSON of `command`: from "`COMMAND --json` writes" to where that of the next one
/// begins, or to the next heading; and the same of the commands whose JSON is mentioned there. Empty if there is none.
pub(crate) fn section(command: &str) -> String {
    let start = format!("`{command} --json` writes");
    let parts = PAGES.iter().flat_map(|page| page.split("\n#"));
    let words = parts.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let Some(part) = words.into_iter().find(|part| part.contains(&start)) else { return String::new() };
    let behind = part.split_once(&start).map_or("", |(_, behind)| behind);
    let next = behind.find(" --json` writes").and_then(|at| behind[..at].rfind('`'));
    let own = &behind[..next.unwrap_or(behind.len())];
    let mentioned = own.split('`').filter_map(|code| code.strip_suffix(" --json")).filter(|other| *other != command);
    mentioned.fold(own.to_owned(), |text, other| text + &section(other))
}

/// Asserts that what the documentation says of the JSON of `command` has every member of `value`, and of the objects
/// in it.
#[track_caller]
pub(crate) fn assert_documented(command: &str, value: &Value) {
    let section = section(command);
    assert!(!section.is_empty(), "no page has \"`{command} --json` writes\"");
    assert_in(&section, command, value);
}

#[track_caller]
fn assert_in(section: &str, command: &str, value: &Value) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            let is_there = [format!("`{key}`"), format!("\"{key}\"")].iter().any(|written| section.contains(written));
            assert!(is_there, "what the documentation says of {command} --json has no member {key}");
            if !(value.is_object() && KEYS_ARE_DATA.contains(&key.as_str())) {
                assert_in(section, command, value);
            }
        }),
        Value::Array(items) => items.iter().for_each(|item| assert_in(section, command, item)),
        _ => {}
    }
}

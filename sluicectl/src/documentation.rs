//! Holds the documentation to what programs get.

use serde_json::Value;

const CONTROL: &str = include_str!("../../docs/control.md");
const POLICY: &str = include_str!("../../docs/policy.md");

/// Asserts that the documentation has every member of a JSON object, and of those in it.
#[track_caller]
pub(crate) fn assert_documented(value: &Value) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            let written = [format!("`{key}`"), format!("\"{key}\"")];
            let is_documented = written.iter().any(|key| CONTROL.contains(key) || POLICY.contains(key));
            assert!(is_documented, "neither docs/control.md nor docs/policy.md has the member {key}");
            assert_documented(value);
        }),
        Value::Array(items) => items.iter().for_each(assert_documented),
        _ => {}
    }
}

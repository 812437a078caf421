//! What an administrator may write into the registry.

use sluice_control::settings::{DEFAULT_POLICY_FILE, file_name};

fn named(path: &str) -> Option<String> {
    let path: Vec<u16> = path.encode_utf16().collect();
    file_name(&path).map(|(prefix, rest)| [prefix, &String::from_utf16(rest).unwrap()].concat())
}

#[test]
fn names_stay_and_paths_of_win32_become_names() {
    assert_eq!(named(DEFAULT_POLICY_FILE).as_deref(), Some(DEFAULT_POLICY_FILE));
    assert_eq!(named(r"\??\D:\x").as_deref(), Some(r"\??\D:\x"));
    assert_eq!(named("D:\\a b\\x\0").as_deref(), Some(r"\??\D:\a b\x"));
}

#[test]
fn what_names_no_file_is_refused() {
    for path in ["", "\0", "x", r"\", r"a\b", "D:", "D:x", r"D:\", "D:\\x\0y", "D:\\x\0\0"] {
        assert_eq!(named(path), None, "{path:?}");
    }
}

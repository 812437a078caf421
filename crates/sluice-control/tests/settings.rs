//! What an administrator may write into the registry.

use sluice_control::settings::{OnPolicyError, file_name};

fn named(path: &str) -> Option<String> {
    let path: Vec<u16> = path.encode_utf16().collect();
    file_name(&path).map(|(prefix, rest)| [prefix, &String::from_utf16(rest).unwrap()].concat())
}

#[test]
fn names_stay_and_paths_of_win32_become_names() {
    let stays = r"\SystemRoot\System32\drivers\x";
    assert_eq!(named(stays).as_deref(), Some(stays));
    assert_eq!(named("D:\\a b\\x\0").as_deref(), Some(r"\GLOBAL??\D:\a b\x"));
}

#[test]
fn a_drive_is_never_that_of_a_session() {
    for path in [r"\??\D:\x", r"\DosDevices\D:\x", r"\dosdevices\D:\x", r"\GLOBAL??\D:\x", r"D:\x"] {
        assert_eq!(named(path).as_deref(), Some(r"\GLOBAL??\D:\x"), "{path}");
    }
}

#[test]
fn what_names_no_file_is_refused() {
    for path in ["", "\0", "x", r"\", r"a\b", "D:", "D:x", r"D:\", r"D:\x\", "D:\\x\0y", "D:\\x\0\0", r"\??\"] {
        assert_eq!(named(path), None, "{path:?}");
    }
}

#[test]
fn a_reaction_has_the_number_of_its_action() {
    use sluice_npi::action;
    let reactions = [OnPolicyError::DoNotStart, OnPolicyError::Permit, OnPolicyError::Block];
    assert_eq!(reactions.map(OnPolicyError::number), [0, action::PERMIT, action::BLOCK]);
    for reaction in reactions {
        assert_eq!(OnPolicyError::from_number(reaction.number().into()), Some(reaction));
    }
    assert_eq!(OnPolicyError::from_number(3), None);
    assert_eq!(OnPolicyError::default(), OnPolicyError::DoNotStart);
}

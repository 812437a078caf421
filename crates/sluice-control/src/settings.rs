//! What an administrator can set for sluice.sys: values of the key `Parameters` below the key of its service. The
//! driver reads them when it starts.

/// The key below the one of the service.
pub const KEY: &str = r"\Parameters";

/// REG_SZ: the file of the persisted policy, see [`file_name`].
pub const POLICY_FILE: &str = "PolicyFile";

/// The file if [`POLICY_FILE`] is not set: a folder that only administrators can write to.
pub const DEFAULT_POLICY_FILE: &str = r"\SystemRoot\System32\drivers\sluice.policy";

/// REG_DWORD: the largest table of a policy that the driver takes, in bytes of non-paged pool.
pub const TABLE_LIMIT: &str = "TableLimit";

/// What comes before a path of Win32 in the object manager's name space.
const WIN32_PATHS: &str = r"\??\";

/// Two parts of a name in the object manager's name space, made of a path that an administrator wrote: such a name as
/// it is (`\SystemRoot\..`), or a path of Win32 with its drive (`C:\..`). A zero at its end does not count. `None` if
/// it is neither.
///
/// ```
/// use sluice_control::settings::file_name;
///
/// let path: Vec<u16> = "C:\\my.policy\0".encode_utf16().collect();
/// let (prefix, rest) = file_name(&path).unwrap();
/// assert_eq!((prefix, String::from_utf16(rest).unwrap().as_str()), (r"\??\", r"C:\my.policy"));
/// ```
#[must_use]
pub fn file_name(path: &[u16]) -> Option<(&'static str, &[u16])> {
    const BACKSLASH: u16 = b'\\' as u16;
    const COLON: u16 = b':' as u16;
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    if path.contains(&0) {
        return None;
    }
    match path {
        [BACKSLASH, _, ..] => Some(("", path)),
        [_, COLON, BACKSLASH, _, ..] => Some((WIN32_PATHS, path)),
        _ => None,
    }
}

//! What an administrator can set for sluice.sys: values of the key `Parameters` below the key of its service. The
//! driver reads them when it starts, and does not start if one of them is not what is said here.

/// REG_SZ: the file of the persisted policy, see [`file_name`]. Without it that is [`DEFAULT_POLICY_FILE`].
pub const POLICY_FILE: &str = "PolicyFile";

/// The file in the driver's own data directory.
pub const DEFAULT_POLICY_FILE: &str = "policy";

/// REG_DWORD: the largest table of a policy that the driver takes, in bytes of non-paged pool.
pub const TABLE_LIMIT: &str = "TableLimit";

/// REG_DWORD: how much memory the driver sets aside when it starts, in bytes of non-paged pool, to put names together
/// that are spread over packets. 0 is none.
pub const ASSEMBLY_MEMORY: &str = "AssemblyMemory";

/// REG_DWORD: what the driver does when it starts and the persisted policy cannot be put in force, see
/// [`OnPolicyError`].
pub const ON_POLICY_ERROR: &str = "OnPolicyError";

/// What the driver does when it starts and the persisted policy cannot be put in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPolicyError {
    /// It does not start. That is so if nothing is set.
    #[default]
    DoNotStart = 0,
    /// It starts and permits everything until a policy is loaded.
    Permit = 1,
    /// It starts and blocks everything until a policy is loaded.
    Block = 2,
}

impl OnPolicyError {
    /// The reaction of that number, the two actions having theirs ([`sluice_npi::action`]). `None` for any other
    /// number.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::DoNotStart),
            1 => Some(Self::Permit),
            2 => Some(Self::Block),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// Where the object manager has the drives for everybody. What stands below `\??\` may be a drive of one session alone:
/// the driver starts in the System process and is sent requests from the sessions of administrators.
const GLOBAL_DRIVES: &str = r"\GLOBAL??\";

/// The names under which a session has its own drives in front of the global ones.
const SESSION_DRIVES: [&str; 2] = [r"\??\", r"\DosDevices\"];

/// Two parts of a name in the object manager's name space, made of a path that an administrator wrote: such a name
/// (`\SystemRoot\..`), or a path of Win32 with its drive (`C:\..`). A drive is always the global one. A zero at its end
/// does not count. `None` if it is neither, or ends in a backslash.
///
/// ```
/// use sluice_control::settings::file_name;
///
/// let path: Vec<u16> = "C:\\my.policy\0".encode_utf16().collect();
/// let (prefix, rest) = file_name(&path).unwrap();
/// assert_eq!((prefix, String::from_utf16(rest).unwrap().as_str()), (r"\GLOBAL??\", r"C:\my.policy"));
/// ```
#[must_use]
pub fn file_name(path: &[u16]) -> Option<(&'static str, &[u16])> {
    const BACKSLASH: u16 = b'\\' as u16;
    const COLON: u16 = b':' as u16;
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    if path.contains(&0) || path.ends_with(&[BACKSLASH]) {
        return None;
    }
    if let Some(rest) = SESSION_DRIVES.iter().find_map(|prefix| without_prefix(path, prefix)) {
        return (!rest.is_empty()).then_some((GLOBAL_DRIVES, rest));
    }
    match path {
        [BACKSLASH, _, ..] => Some(("", path)),
        [_, COLON, BACKSLASH, _, ..] => Some((GLOBAL_DRIVES, path)),
        _ => None,
    }
}

/// What stands behind a prefix, in which the case of letters does not count.
fn without_prefix<'a>(path: &'a [u16], prefix: &str) -> Option<&'a [u16]> {
    let (start, rest) = path.split_at_checked(prefix.len())?;
    let same = |(unit, byte): (&u16, u8)| u8::try_from(*unit).is_ok_and(|unit| unit.eq_ignore_ascii_case(&byte));
    start.iter().zip(prefix.bytes()).all(same).then_some(rest)
}

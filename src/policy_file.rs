//! The file of the persisted policy, and the settings that name it.

use alloc::vec::Vec;

use sluice_control::settings;
use sluice_engine::{DEFAULT_TABLE_LIMIT, Storage};
use sluice_wdm::{File, Key, ObjectName};
use wdk::println;
use wdk_sys::{NTSTATUS, STATUS_QUOTA_EXCEEDED};

/// What the name of the new file has more than that of the persisted one, beside which it is written.
const NEW: &str = ".new";

/// The persisted file and the new one.
pub(crate) struct PolicyFile {
    persisted: ObjectName,
    new: ObjectName,
}

impl Storage for PolicyFile {
    fn read(&self, limit: usize) -> Result<Option<Vec<u8>>, NTSTATUS> {
        let Some(file) = File::open(&self.persisted)? else { return Ok(None) };
        match usize::try_from(file.length()?) {
            Ok(length) if length <= limit => file.read(length).map(Some),
            _ => Err(STATUS_QUOTA_EXCEEDED),
        }
    }

    fn write_new(&self, parts: &[&[u8]]) -> Result<(), NTSTATUS> {
        // One that a crash has left, or somebody else made, does not get to say who may open ours.
        File::remove(&self.new)?;
        let file = File::create_for_administrators(&self.new)?;
        parts.iter().try_for_each(|part| file.write(part))?;
        file.flush()
    }

    fn replace(&self) -> Result<(), NTSTATUS> {
        File::rename(&self.new, &self.persisted)
    }

    fn discard_new(&self) {
        let _ = File::remove(&self.new);
    }

    fn remove(&self) -> Result<(), NTSTATUS> {
        File::remove(&self.persisted)
    }
}

/// What an administrator has set.
pub(crate) struct Settings {
    pub(crate) policy_file: PolicyFile,
    pub(crate) table_limit: usize,
}

impl Settings {
    /// Reads the values of the key Parameters below the service's own. What is not set, or makes no sense, is as
    /// documented. PASSIVE_LEVEL.
    ///
    /// # Errors
    ///
    /// There is no memory for the names.
    pub(crate) fn read(registry_path: &[u16]) -> Result<Self, NTSTATUS> {
        let parameters = Key::open(&ObjectName::new(registry_path, settings::KEY)?).unwrap_or_else(|status| {
            println!("sluice: cannot open the key {} ({status:#010x}), taking the defaults", settings::KEY);
            None
        });
        let path = setting(parameters.as_ref(), settings::POLICY_FILE, Key::string);
        let limit = setting(parameters.as_ref(), settings::TABLE_LIMIT, Key::dword);
        let persisted = match path.as_deref().map(settings::file_name) {
            Some(Some((prefix, rest))) => ObjectName::with_prefix(prefix, rest)?,
            other => {
                if other.is_some() {
                    println!("sluice: the value {} is no path with a drive, taking the default", settings::POLICY_FILE);
                }
                ObjectName::new(&[], settings::DEFAULT_POLICY_FILE)?
            }
        };
        let new = ObjectName::new(persisted.units(), NEW)?;
        let table_limit = limit.map_or(DEFAULT_TABLE_LIMIT, |limit| limit as usize);
        Ok(Self { policy_file: PolicyFile { persisted, new }, table_limit })
    }
}

/// A value of the key. Says so if there is one that cannot be read.
fn setting<T>(
    parameters: Option<&Key>,
    name: &str,
    read: impl FnOnce(&Key, &str) -> Result<Option<T>, NTSTATUS>,
) -> Option<T> {
    read(parameters?, name).unwrap_or_else(|status| {
        println!("sluice: the value {name} cannot be read ({status:#010x}), taking the default");
        None
    })
}

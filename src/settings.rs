//! What an administrator has set.

use sluice_control::settings::{self, OnPolicyError};
use sluice_engine::{DEFAULT_ASSEMBLY_MEMORY, DEFAULT_TABLE_LIMIT};
use sluice_wdm::{Directory, Key, ObjectName, ReplacedFile, StartError};
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, STATUS_INVALID_PARAMETER};

use crate::policy_file::PolicyFile;
use crate::trace;

/// The values of the driver's key Parameters, or what is documented for those that are not set.
pub(crate) struct Settings {
    pub(crate) policy_file: PolicyFile,
    pub(crate) table_limit: usize,
    pub(crate) on_policy_error: OnPolicyError,
    pub(crate) assembly_memory: usize,
}

impl Settings {
    /// Reads the values. PASSIVE_LEVEL, in DriverEntry.
    ///
    /// # Errors
    ///
    /// A value cannot be read or is not allowed, and it has been reported which. A driver that took the default instead
    /// would do something else than it was told.
    pub(crate) fn read(driver: &mut DRIVER_OBJECT) -> Result<Self, StartError> {
        let parameters = Key::parameters(driver).map_err(|status| rejected("the key Parameters", status))?;
        let parameters = parameters.as_ref();
        let number = value(parameters, settings::ON_POLICY_ERROR, Key::dword)?;
        let on_policy_error = number.map_or(Some(OnPolicyError::default()), OnPolicyError::from_number);
        let on_policy_error =
            on_policy_error.ok_or_else(|| rejected(settings::ON_POLICY_ERROR, STATUS_INVALID_PARAMETER))?;
        let table_limit = value(parameters, settings::TABLE_LIMIT, Key::dword)?;
        let assembly_memory = value(parameters, settings::ASSEMBLY_MEMORY, Key::dword)?;
        let policy_file = match value(parameters, settings::POLICY_FILE, Key::string)? {
            Some(path) => named(&path).map_err(|status| rejected(settings::POLICY_FILE, status))?,
            None => in_data_directory(driver),
        };
        Ok(Self {
            policy_file,
            table_limit: table_limit.map_or(DEFAULT_TABLE_LIMIT, |limit| limit as usize),
            on_policy_error,
            assembly_memory: assembly_memory.map_or(DEFAULT_ASSEMBLY_MEMORY, |memory| memory as usize),
        })
    }
}

fn named(path: &[u16]) -> Result<PolicyFile, NTSTATUS> {
    let (prefix, rest) = settings::file_name(path).ok_or(STATUS_INVALID_PARAMETER)?;
    let file = ReplacedFile::named(ObjectName::with_prefix(prefix, rest)?)?;
    Ok(PolicyFile { file: Ok(file), is_named: true })
}

fn in_data_directory(driver: &mut DRIVER_OBJECT) -> PolicyFile {
    let directory = Directory::driver_data(driver);
    let file = directory.and_then(|directory| ReplacedFile::in_directory(directory, settings::DEFAULT_POLICY_FILE));
    PolicyFile { file, is_named: false }
}

/// A value of the key; `None` if it is not set.
fn value<T>(
    parameters: Option<&Key>,
    name: &'static str,
    read: impl FnOnce(&Key, &str) -> Result<Option<T>, NTSTATUS>,
) -> Result<Option<T>, StartError> {
    let Some(parameters) = parameters else { return Ok(None) };
    read(parameters, name).map_err(|status| rejected(name, status))
}

/// Reports a setting that keeps the driver from starting.
fn rejected(what: &'static str, status: NTSTATUS) -> StartError {
    trace::setting_rejected(what, status);
    StartError::Unusable { what, status }
}

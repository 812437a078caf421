//! Services through the service control manager.

use std::path::Path;
use std::sync::Arc;
use std::{io, ptr};

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_IMAGE_HASH, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_MARKED_FOR_DELETE,
};
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ControlService, CreateServiceW, DeleteService, OpenSCManagerW, OpenServiceW,
    QueryServiceStatus, SC_HANDLE, SC_MANAGER_CONNECT, SC_MANAGER_CREATE_SERVICE, SERVICE_CONTROL_STOP,
    SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, SERVICE_KERNEL_DRIVER, SERVICE_QUERY_STATUS, SERVICE_RUNNING,
    SERVICE_START, SERVICE_STATUS, SERVICE_STOP, SERVICE_STOPPED, StartServiceW,
};

use super::super::stopping::Stoppable;
use super::State;
use crate::failure::Failure;

/// The right to delete an object (winnt.h), which windows-sys has among the file access rights.
const DELETE: u32 = 0x0001_0000;
const SERVICE_ACCESS: u32 = SERVICE_QUERY_STATUS | SERVICE_START | SERVICE_STOP | DELETE;

/// The load-order group, as in the INF files.
const GROUP: &str = "NDIS";

/// A handle of the service control manager, closed when it is dropped.
struct Handle(SC_HANDLE);

// SAFETY: a handle of the service manager belongs to the process; any of its threads may use and close it.
unsafe impl Send for Handle {}
// SAFETY: as above: the functions that take one may be called by several threads at once.
unsafe impl Sync for Handle {}

impl Handle {
    fn new(handle: SC_HANDLE) -> io::Result<Self> {
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nobody uses it from here on.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// The service control manager of this machine.
pub(in super::super) struct Manager(Handle);

impl Manager {
    pub(in super::super) fn open() -> Result<Self, Failure> {
        // SAFETY: NULL names this machine and its active database.
        let handle =
            unsafe { OpenSCManagerW(ptr::null(), ptr::null(), SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE) };
        Handle::new(handle).map(Self).map_err(|error| refused("open the service manager", &error))
    }

    /// Creates a service for the driver in `file`, started on demand.
    pub(in super::super) fn create(&self, name: &str, file: &Path) -> Result<Service, Failure> {
        let path = std::path::absolute(file).map_err(|error| Failure::unreadable(file, &error))?;
        let [wide_name, wide_path, group] = [name, &path.display().to_string(), GROUP].map(wide);
        // SAFETY: the strings end with a zero and live until the call returns; NULL is allowed for what it is given
        // for.
        let handle = unsafe {
            CreateServiceW(
                self.0.0,
                wide_name.as_ptr(),
                ptr::null(),
                SERVICE_ACCESS,
                SERVICE_KERNEL_DRIVER,
                SERVICE_DEMAND_START,
                SERVICE_ERROR_NORMAL,
                wide_path.as_ptr(),
                group.as_ptr(),
                ptr::null_mut(),
                ptr::null(),
                ptr::null(),
                ptr::null(),
            )
        };
        let handle = Handle::new(handle).map_err(|error| refused(&format!("create the service {name}"), &error))?;
        Ok(Service::new(handle, name))
    }

    /// The service of this name, if it exists.
    pub(in super::super) fn service(&self, name: &str) -> Result<Option<Service>, Failure> {
        let wide_name = wide(name);
        // SAFETY: the name ends with a zero and lives until the call returns.
        let handle = unsafe { OpenServiceW(self.0.0, wide_name.as_ptr(), SERVICE_ACCESS) };
        match Handle::new(handle) {
            Ok(handle) => Ok(Some(Service::new(handle, name))),
            Err(error) if is(&error, ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
            Err(error) => Err(refused(&format!("open the service {name}"), &error)),
        }
    }
}

/// A service that is open, until the last clone of it is gone.
#[derive(Clone)]
pub(in super::super) struct Service {
    handle: Arc<Handle>,
    name: String,
}

impl Service {
    fn new(handle: Handle, name: &str) -> Self {
        Self { handle: Arc::new(handle), name: name.to_owned() }
    }

    /// Starts the driver. DriverEntry has returned when this returns.
    pub(in super::super) fn start(&self) -> Result<(), Failure> {
        // SAFETY: the handle is open; a driver takes no arguments.
        let done = unsafe { StartServiceW(self.handle.0, 0, ptr::null()) };
        self.judge(done, "start")
    }

    /// Marks the service for deletion and closes it. It is gone once every other handle is closed.
    pub(in super::super) fn delete(self) -> Result<(), Failure> {
        // SAFETY: the handle is open.
        let done = unsafe { DeleteService(self.handle.0) };
        self.judge(done, "delete")
    }

    fn judge(&self, done: i32, what: &str) -> Result<(), Failure> {
        if done == 0 {
            return Err(refused(&format!("{what} {}", self.name), &io::Error::last_os_error()));
        }
        Ok(())
    }
}

impl Stoppable for Service {
    fn name(&self) -> &str {
        &self.name
    }

    fn stop(&self) -> Result<(), Failure> {
        let mut status = SERVICE_STATUS::default();
        // SAFETY: the handle is open, and `status` is writable.
        let done = unsafe { ControlService(self.handle.0, SERVICE_CONTROL_STOP, &raw mut status) };
        self.judge(done, "stop")
    }

    fn state(&self) -> Result<State, Failure> {
        let mut status = SERVICE_STATUS::default();
        // SAFETY: the handle is open, and `status` is writable.
        let done = unsafe { QueryServiceStatus(self.handle.0, &raw mut status) };
        self.judge(done, "query")?;
        Ok(match status.dwCurrentState {
            SERVICE_STOPPED => State::Stopped,
            SERVICE_RUNNING => State::Running,
            other => State::Other(other),
        })
    }
}

fn refused(what: &str, error: &io::Error) -> Failure {
    let why = match error.raw_os_error().map(i32::cast_unsigned) {
        Some(ERROR_ACCESS_DENIED) => "access is denied; use an elevated prompt".to_owned(),
        Some(ERROR_INVALID_IMAGE_HASH) => {
            "Windows rejects the signature of the file: test signing is off, or the certificate is not installed"
                .to_owned()
        }
        Some(ERROR_SERVICE_MARKED_FOR_DELETE) => {
            "it is marked for deletion, and a program still has it open".to_owned()
        }
        _ => error.to_string(),
    };
    Failure::windows(format!("cannot {what}: {why}"), error)
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error().map(i32::cast_unsigned) == Some(code)
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

//! wsk.sys: the driver with sockets that wdk-nmr has as an example, in the rig. The files of the example are compiled
//! as they stand there; [`kernel`] is what they have of a kernel, and [`wine`] the provider that they attach to, which
//! is Wine's.
//!
//! It talks to the port of 127.0.0.1 that the value `Port` of its key Parameters names, in DriverEntry: connects, sends
//! a question, prints what it receives, and closes. With the value `Listen` it waits for a connection to that port and
//! sends back what comes, until the other side has sent all.
#![no_std]

extern crate alloc;
extern crate wdk_panic;

#[path = "../../../../crates/wdk-nmr/examples/wsk/client.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "an example, of which not all is used")]
mod client;
#[path = "../../../../crates/wdk-nmr/examples/wsk/interface.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "an example, of which not all is used")]
mod interface;
#[allow(missing_docs, unreachable_pub, reason = "public as the example's is")]
mod kernel;
#[path = "../../../../crates/wdk-nmr/examples/wsk/stream.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "an example, of which not all is used")]
mod stream;
mod wine;

use core::time::Duration;

use client::User;
use interface::SocketAddress;
use sluice_wdm::Key;
use stream::{Connection, Listener, OnStream};
use wdk::println;
use wdk_alloc::WdkAllocator;
use wdk_nmr::{ClientRegistration, HeldProvider, ModuleId, Passive, ProviderRegistration};
use wdk_nmr_wdm::{DriverImage, Running};
use wdk_sys::{
    DRIVER_OBJECT, NTSTATUS, STATUS_DEVICE_NOT_READY, STATUS_INVALID_PARAMETER, STATUS_SUCCESS, UNICODE_STRING,
};
use wine::Wine;

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// Client and provider, from the success of DriverEntry to DriverUnload.
static RUNNING: Running<Registrations> = Running::new();

struct Registrations {
    client: ClientRegistration<User, DriverImage>,
    provider: ProviderRegistration<Wine, DriverImage>,
}

impl Registrations {
    fn register(driver: &mut DRIVER_OBJECT, passive: Passive<'_>) -> Result<Self, NTSTATUS> {
        // SAFETY: the driver object of this image, whose allocator is that of wdk-alloc.
        let image = unsafe { DriverImage::hold(driver) };
        let user = User::new()?;
        let client = client::register(user, ModuleId::IfLuid(1), image, passive).map_err(|error| error.status())?;
        // SAFETY: the driver object of this image, whose allocator is that of wdk-alloc.
        let image = unsafe { DriverImage::hold(driver) };
        match Wine::register(image, passive) {
            Ok(provider) => Ok(Self { client, provider }),
            Err(status) => {
                // If NMR does not end the registration, it is leaked, and the reference in it keeps the image.
                let _ = client.deregister(passive);
                Err(status)
            }
        }
    }

    fn capture(&self, passive: Passive<'_>) -> Result<HeldProvider<User>, NTSTATUS> {
        client::capture(&self.client, Duration::from_secs(5), passive).ok_or(STATUS_DEVICE_NOT_READY)
    }

    fn deregister(self, passive: Passive<'_>) {
        // What NMR does not end is leaked, and the references in it keep the image.
        let _ = self.client.deregister(passive);
        let _ = self.provider.deregister(passive);
    }
}

/// No events: the driver receives.
static NO_EVENTS: OnStream = OnStream { bytes: |_| (), end: || (), broken: || () };

fn address(port: u16) -> SocketAddress {
    SocketAddress { family: 2, port: port.to_be(), address: [127, 0, 0, 1], zero: [0; 8] }
}

/// Connects, sends a question, prints the answer and closes.
fn ask(wsk: &Registrations, port: u16, passive: Passive<'_>) -> Result<(), NTSTATUS> {
    let connection = Connection::open(wsk.capture(passive)?, address(0), address(port), &NO_EVENTS, passive)?;
    let mut answer = [0; 64];
    let answered = connection.send(b"who is there?", passive).and_then(|_| connection.receive(&mut answer, passive));
    let closed = connection.close(passive);
    let answer = answered.map(|length| answer.get(..length).unwrap_or(&answer))?;
    println!("wsk: {}", core::str::from_utf8(answer).unwrap_or("an answer that is no text"));
    closed
}

/// Waits for a connection and sends back what comes, until the other side has sent all.
fn echo(wsk: &Registrations, port: u16, passive: Passive<'_>) -> Result<(), NTSTATUS> {
    let listener = Listener::open(wsk.capture(passive)?, address(port), passive)?;
    println!("wsk: listens");
    let echoed = listener.accept(wsk.capture(passive)?, &NO_EVENTS, passive).and_then(|(connection, remote)| {
        println!("wsk: accepted {:?}", remote.address);
        let mut bytes = [0; 8];
        let echoed = loop {
            match connection.receive(&mut bytes, passive) {
                Ok(0) => break Ok(()),
                Err(status) => break Err(status),
                Ok(length) => {
                    if let Err(status) = connection.send(bytes.get(..length).unwrap_or(&bytes), passive) {
                        break Err(status);
                    }
                }
            }
        };
        connection.close(passive).and(echoed)
    });
    listener.close(passive).and(echoed)
}

/// Does what the settings say.
fn work(wsk: &Registrations, driver: &mut DRIVER_OBJECT, passive: Passive<'_>) -> Result<(), NTSTATUS> {
    let key = Key::parameters(driver)?.ok_or(STATUS_INVALID_PARAMETER)?;
    let port = |name| {
        let port = key.dword(name)?.map(u16::try_from).transpose();
        port.map_err(|_| STATUS_INVALID_PARAMETER)
    };
    if let Some(port) = port("Port")? {
        ask(wsk, port, passive)?;
    }
    if let Some(port) = port("Listen")? {
        echo(wsk, port, passive)?;
    }
    Ok(())
}

/// Starts the driver.
///
/// # Safety
///
/// The I/O manager calls it, once, at PASSIVE_LEVEL.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _registry_path: &UNICODE_STRING) -> NTSTATUS {
    // SAFETY: DriverEntry runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    let wsk = match Registrations::register(driver, passive) {
        Ok(wsk) => wsk,
        Err(status) => return status,
    };
    if let Err(status) = work(&wsk, driver, passive) {
        println!("wsk: {status:#010X}");
        wsk.deregister(passive);
        return status;
    }
    // Nothing is there yet: DriverEntry is called once.
    let _ = RUNNING.put(wsk);
    driver.DriverUnload = Some(driver_unload);
    STATUS_SUCCESS
}

/// Stops the driver, whose sockets are closed.
unsafe extern "C" fn driver_unload(_driver: *mut DRIVER_OBJECT) {
    // SAFETY: DriverUnload runs at PASSIVE_LEVEL and in no callback.
    let passive = unsafe { Passive::new() };
    if let Some(wsk) = RUNNING.take() {
        wsk.deregister(passive);
    }
}

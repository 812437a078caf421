//! A provider and a client, registered.
#![allow(dead_code, unused_imports)]

use core::ffi::c_void;
use core::marker::PhantomData;

pub use wdk_nmr::*;

pub struct Adding;

#[repr(C)]
pub struct Table {
    pub version: u16,
    pub size: u16,
    pub add: unsafe extern "system" fn(context: *mut c_void, number: u32) -> u32,
}

unsafe impl NpiStructure for Table {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

unsafe impl Npi for Adding {
    const ID: NPIID = NPIID { Data1: 1, Data2: 2, Data3: 3, Data4: [4; 8] };
    type ProviderDispatch = Table;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

pub struct Adder;

impl Adder {
    pub fn add(call: ProviderCall<'_, Self>, number: u32) -> u32 {
        call.binding() + number
    }
}

impl Provider for Adder {
    type Npi = Adding;
    type Binding = u32;
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        provider_table!(Self, Table { version: 1, size: 16, add: fn Self::add })
    }

    fn attach(&self, _: &ClientOffer<'_, Adding>) -> Result<u32, Refusal> {
        Ok(0)
    }
}

pub struct Counter;

impl Client for Counter {
    type Npi = Adding;
    type Binding = String;
    type Guard = Single;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Adding>) -> Result<String, Refusal> {
        Ok(String::new())
    }
}

/// A client that calls at DISPATCH_LEVEL.
pub struct Fast;

pub struct OneProcessor;

impl ShardIndex for OneProcessor {
    fn current() -> usize {
        0
    }
}

unsafe impl Processors for OneProcessor {
    fn barrier() {}
}

impl Client for Fast {
    type Npi = Adding;
    type Binding = ();
    type Guard = PerProcessor<OneProcessor, 1>;

    fn dispatch(&self) -> ClientTable<Self> {
        ClientTable::none()
    }

    fn attach(&self, _: &ProviderOffer<'_, Adding>) -> Result<(), Refusal> {
        Ok(())
    }
}

/// A table of one entry, whatever that is.
#[repr(C)]
pub struct One<E> {
    pub header: VersionAndSize,
    pub entry: E,
}

unsafe impl<E: 'static> NpiStructure for One<E> {
    type Header = VersionAndSize;

    fn check(header: &VersionAndSize) -> Result<usize, StructureError> {
        header.check(1..=1)
    }
}

/// The interface of providers with such a table, and a provider.
pub struct Offering<E>(PhantomData<fn() -> E>);

unsafe impl<E: 'static> Npi for Offering<E> {
    const ID: NPIID = GUID::from_u128(1);
    type ProviderDispatch = One<E>;
    type ClientDispatch = ();
    type ProviderCharacteristics = ();
    type ClientCharacteristics = ();
}

impl<E: 'static> Provider for Offering<E> {
    type Npi = Self;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        todo!()
    }

    fn attach(&self, _: &ClientOffer<'_, Self>) -> Result<(), Refusal> {
        todo!()
    }
}

pub struct Program;

unsafe impl Resident for Program {}

pub fn provider() -> ProviderRegistration<Adder, Program> {
    todo!()
}

pub fn client() -> ClientRegistration<Counter, Program> {
    todo!()
}

pub fn fast_client() -> ClientRegistration<Fast, Program> {
    todo!()
}

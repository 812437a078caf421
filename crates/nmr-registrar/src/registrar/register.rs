//! NmrRegister*: checks what a module registers, and offers it to the peers that are there.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::c_void;

use wdk_nmr_sys::{
    HANDLE, NPI_CLIENT_CHARACTERISTICS, NPI_MODULEID, NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE, NPIID,
    NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
};

use super::Registrar;
use crate::handle;
use crate::life::Side;
use crate::module::{Characteristics, Opaque, Registered, Source};
use crate::platform::{Lock, PASSIVE_LEVEL, Platform};
use crate::tables::registration_handle;
use crate::violation::{Function, Place, Violation};

impl<P: Platform> Registrar<P> {
    /// `NmrRegisterClient`
    ///
    /// # Safety
    /// `characteristics` is NULL or readable together with all that it points to, until the wait for the end of the
    /// registration has returned. `out` is NULL or writable.
    pub unsafe fn register_client(
        &self,
        characteristics: *const NPI_CLIENT_CHARACTERISTICS,
        context: *mut c_void,
        out: *mut HANDLE,
    ) -> NTSTATUS {
        // SAFETY: passed on from the caller.
        unsafe { self.register(Function::RegisterClient, Source::Client(characteristics), Opaque(context), out) }
    }

    /// `NmrRegisterProvider`
    ///
    /// # Safety
    /// As for [`Self::register_client`].
    pub unsafe fn register_provider(
        &self,
        characteristics: *const NPI_PROVIDER_CHARACTERISTICS,
        context: *mut c_void,
        out: *mut HANDLE,
    ) -> NTSTATUS {
        // SAFETY: passed on from the caller.
        unsafe { self.register(Function::RegisterProvider, Source::Provider(characteristics), Opaque(context), out) }
    }

    /// # Safety
    /// As for [`Self::register_client`].
    unsafe fn register(&self, function: Function, source: Source, context: Opaque, out: *mut HANDLE) -> NTSTATUS {
        let place = Place::Function(function);
        self.enter(function, 15, PASSIVE_LEVEL, "PASSIVE_LEVEL");
        if !out.is_null() && !self.is_lenient() {
            // The handle means nothing before the function has returned STATUS_SUCCESS (R7, R9).
            // SAFETY: the caller says that it is writable if it is not NULL.
            unsafe { out.write(handle::poison()) };
        }
        if let Some(status) = self.platform.fault(function) {
            return status;
        }
        if out.is_null() {
            return self.refuse(place, 9, "the pointer for the handle is NULL", "a pointer to a HANDLE");
        }
        // SAFETY: passed on from the caller.
        let module = match unsafe { self.read_module(place, source, context) } {
            Ok(module) => module,
            Err(status) => return status,
        };
        let shard = shard_of(&module.npi);
        let now = self.platform.now();
        let Some((key, mut peers)) = self.shards[shard].with(|shard| shard.register(module, now)) else {
            return STATUS_INSUFFICIENT_RESOURCES;
        };
        self.order.arrange(&mut peers);
        for peer in peers {
            match module.side() {
                Side::Client => self.offer(key, peer, now),
                Side::Provider => self.offer(peer, key, now),
            }
        }
        // SAFETY: it is not NULL, and the caller says that it is writable then.
        unsafe { out.write(registration_handle(module.side(), key)) };
        STATUS_SUCCESS
    }

    /// Checks what a module registers (R12) and notes what has to stay as it is (R10).
    ///
    /// # Safety
    /// As for [`Self::register_client`].
    unsafe fn read_module(&self, place: Place, source: Source, context: Opaque) -> Result<Registered, NTSTATUS> {
        if source.address() == 0 || !source.is_aligned() {
            let found = "the pointer to the characteristics is NULL or misaligned";
            return Err(self.refuse(place, 10, found, "the module's characteristics"));
        }
        // SAFETY: the caller says that it is readable.
        let c = unsafe { source.read() };
        let Characteristics { attach: Some(attach), detach: Some(detach), .. } = c else {
            let found = "the attach or detach callback is NULL";
            return Err(self.refuse(place, 12, found, "both; only the cleanup callback may be NULL"));
        };
        if c.instance.NpiId.is_null() || !c.instance.NpiId.is_aligned() {
            return Err(self.refuse(place, 12, "NpiId is NULL or misaligned", "a pointer to the NPIID"));
        }
        // SAFETY: the caller says that all that the characteristics point to is readable.
        let module = unsafe { Registered::new(source, context, &c, attach, detach) };
        // SAFETY: the caller says that all that the characteristics point to is readable.
        for found in unsafe { wrong_fields(&c) } {
            self.report_violation(true, || Violation {
                rule: 12,
                place,
                module: Some(self.describe(&module, None)),
                binding: None,
                found: Cow::Owned(found),
                expected: "version 0 of the characteristics, each structure's own size, and a module id",
            });
        }
        Ok(module)
    }
}

/// The shard of an interface. NPIIDs are random numbers, or counted upwards in one of their fields.
fn shard_of(npi: &NPIID) -> usize {
    let low = u64::from_le_bytes(npi.Data4);
    let high = u64::from(npi.Data1) << 32 | u64::from(npi.Data2) << 16 | u64::from(npi.Data3);
    let mixed = (high ^ low.rotate_left(31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 58) as usize % handle::MAX_SHARDS
}

/// What is wrong with the fields that have one right value (R12). The version of the registration instance is not among
/// them: an NPI may give it a meaning.
///
/// # Safety
/// All that `c` points to is readable.
unsafe fn wrong_fields(c: &Characteristics) -> Vec<String> {
    let NPI_REGISTRATION_INSTANCE { Size, ModuleId, .. } = c.instance;
    let mut wrong = Vec::new();
    let mut expect = |name, value: usize, expected: usize| {
        if value != expected {
            wrong.push(format!("{name} is {value}, not {expected}"));
        }
    };
    expect("Version of the characteristics", c.version.into(), 0);
    expect("Length of the characteristics", c.length.into(), c.expected_length.into());
    expect("Size of the registration instance", Size.into(), size_of::<NPI_REGISTRATION_INSTANCE>());
    if ModuleId.is_null() {
        wrong.push(String::from("ModuleId is NULL"));
    } else if !ModuleId.is_aligned() {
        wrong.push(format!("ModuleId is {:#x}, which is not aligned", ModuleId.addr()));
    } else {
        // SAFETY: it is neither NULL nor misaligned, and the caller says that it is readable then.
        let id = unsafe { ModuleId.read() };
        expect("Length of the module id", id.Length.into(), size_of::<NPI_MODULEID>());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last eight bytes have all bits set: what is only or-ed with them is lost.
    #[test]
    fn interfaces_that_are_counted_upwards_are_spread_over_the_shards() {
        let npi = NPIID { Data1: 0x4E50_4931, Data2: 0x4E4D, Data3: 0x4950, Data4: [0xFF; 8] };
        let counted: [fn(NPIID, u8) -> NPIID; 4] = [
            |npi, number| NPIID { Data1: npi.Data1 + u32::from(number), ..npi },
            |npi, number| NPIID { Data2: npi.Data2 + u16::from(number), ..npi },
            |npi, number| NPIID { Data3: npi.Data3 + u16::from(number), ..npi },
            |npi, number| NPIID { Data4: [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, number], ..npi },
        ];
        for (field, counted) in counted.into_iter().enumerate() {
            let mut taken = [false; handle::MAX_SHARDS];
            (0..64).for_each(|number| taken[shard_of(&counted(npi, number))] = true);
            let taken = taken.iter().filter(|taken| **taken).count();
            assert!(taken >= handle::MAX_SHARDS / 4, "{taken} shards for 64 values of field {field}");
        }
    }
}

//! The misfit's behaviours as a network module.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use sluice_npi::{
    ClientCharacteristics, ClientDispatch, Header, Packet, ProviderCharacteristics, ProviderDispatch, Verdict,
    direction, link_type,
};
use wdk_nmr_sys as nmr;
use wdk_nmr_sys::{
    GUID, HANDLE, MIT_GUID, NPI_MODULEID, NPI_MODULEID_ID, NPI_REGISTRATION_INSTANCE, NPIID, NTSTATUS,
    STATUS_NOINTERFACE, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::wdm::{STATUS_UNSUCCESSFUL, join, print, sleep, spawn};

/// `SLUICE_NPI_ID` of sluice_npi.h.
static NPI: NPIID =
    NPIID { Data1: 0x0B8F_760A, Data2: 0x70AF, Data3: 0x4860, Data4: [0xBA, 0x3E, 0xDE, 0x22, 0xA7, 0x6F, 0xC2, 0xEE] };

/// A structure for NMR, never written to.
struct Shared<T>(T);

// SAFETY: it is never written to.
unsafe impl<T> Sync for Shared<T> {}

static MODULE: Shared<NPI_MODULEID> = Shared(NPI_MODULEID {
    Length: size_of::<NPI_MODULEID>() as u16,
    Type: MIT_GUID,
    Id: NPI_MODULEID_ID { Guid: GUID { Data1: 0x6D69_7366, Data2: 0x6974, Data3: 0, Data4: [0; 8] } },
});

/// What the interface says about a client or a provider in its version 1 (SLUICE_CLIENT_CHARACTERISTICS,
/// SLUICE_PROVIDER_CHARACTERISTICS): well-formed, so that the peer looks at the rest.
static ABOUT_CLIENT: ClientCharacteristics =
    ClientCharacteristics { header: Header::of::<ClientCharacteristics>(), driver_version: 1, name: [0; 32] };
static ABOUT_PROVIDER: ProviderCharacteristics =
    ProviderCharacteristics { header: Header::of::<ProviderCharacteristics>(), max_batch: 1 };

const fn instance(about: *const c_void) -> NPI_REGISTRATION_INSTANCE {
    NPI_REGISTRATION_INSTANCE {
        Version: 0,
        Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
        NpiId: &raw const NPI,
        ModuleId: &raw const MODULE.0,
        Number: 0,
        NpiSpecificCharacteristics: about,
    }
}

const fn client(attach: nmr::NPI_CLIENT_ATTACH_PROVIDER_FN) -> Shared<nmr::NPI_CLIENT_CHARACTERISTICS> {
    Shared(nmr::NPI_CLIENT_CHARACTERISTICS {
        Version: 0,
        Length: size_of::<nmr::NPI_CLIENT_CHARACTERISTICS>() as u16,
        ClientAttachProvider: Some(attach),
        ClientDetachProvider: Some(detach),
        ClientCleanupBindingContext: None,
        ClientRegistrationInstance: instance((&raw const ABOUT_CLIENT).cast()),
    })
}

static DECLINER: Shared<nmr::NPI_CLIENT_CHARACTERISTICS> = client(decline);
static SLUGGARD: Shared<nmr::NPI_CLIENT_CHARACTERISTICS> =
    Shared(nmr::NPI_CLIENT_CHARACTERISTICS { ClientDetachProvider: Some(detach_slowly), ..client(attach).0 });
static GUARDED: Shared<nmr::NPI_CLIENT_CHARACTERISTICS> =
    Shared(nmr::NPI_CLIENT_CHARACTERISTICS { ClientDetachProvider: Some(detach_guarded), ..client(attach).0 });
static STRANGER: Shared<nmr::NPI_CLIENT_CHARACTERISTICS> = client(offer_unknown_version);
static REFUSER: Shared<nmr::NPI_PROVIDER_CHARACTERISTICS> = Shared(nmr::NPI_PROVIDER_CHARACTERISTICS {
    Version: 0,
    Length: size_of::<nmr::NPI_PROVIDER_CHARACTERISTICS>() as u16,
    ProviderAttachClient: Some(refuse),
    ProviderDetachClient: Some(detach),
    ProviderCleanupBindingContext: None,
    ProviderRegistrationInstance: instance((&raw const ABOUT_PROVIDER).cast()),
});

/// The registration that `stop` ends; NULL if there is none, or none that should be ended.
static REGISTRATION: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static IS_PROVIDER: AtomicBool = AtomicBool::new(false);

/// Registers as the service name says. A name that says nothing is an error.
pub(crate) fn start(is: impl Fn(&str) -> bool) -> NTSTATUS {
    let mut handle = null_mut();
    if is("refuser") {
        IS_PROVIDER.store(true, Ordering::Relaxed);
        // SAFETY: static characteristics; `stop` ends the registration before the image goes.
        let status = unsafe { nmr::NmrRegisterProvider(&REFUSER.0, null_mut(), &mut handle) };
        REGISTRATION.store(handle, Ordering::Relaxed);
        return status;
    }
    let characteristics = if is("stranger") {
        &STRANGER.0
    } else if is("sluggard") {
        &SLUGGARD.0
    } else if is("io-suspended") {
        &GUARDED.0
    } else if is("decliner") || is("rulebreaker") || is("deserter") || is("resident") {
        &DECLINER.0
    } else {
        print(c"misfit: the service name says nothing", STATUS_UNSUCCESSFUL);
        return STATUS_UNSUCCESSFUL;
    };
    // SAFETY: static characteristics; `stop` ends the registration before the image goes, except for the deserter,
    // whose point it is to break that.
    let status = unsafe { nmr::NmrRegisterClient(characteristics, null_mut(), &mut handle) };
    if is("rulebreaker") {
        // SAFETY: it breaks R62, which is the point.
        let waited = unsafe { nmr::NmrWaitForClientDeregisterComplete(handle) };
        print(c"misfit: the wait returned", waited);
    }
    if !is("deserter") {
        REGISTRATION.store(handle, Ordering::Relaxed);
    }
    status
}

/// Ends the registration, if there is one.
pub(crate) fn stop() {
    let handle = REGISTRATION.swap(null_mut(), Ordering::Relaxed);
    if handle.is_null() {
        return;
    }
    let waited = if IS_PROVIDER.load(Ordering::Relaxed) {
        // SAFETY: the handle of the provider, which only this function still has.
        unsafe { nmr::NmrDeregisterProvider(handle) };
        // SAFETY: that handle, after its deregistration.
        unsafe { nmr::NmrWaitForProviderDeregisterComplete(handle) }
    } else {
        // SAFETY: the handle of the client, which only this function still has.
        unsafe { nmr::NmrDeregisterClient(handle) };
        // SAFETY: that handle, after its deregistration.
        unsafe { nmr::NmrWaitForClientDeregisterComplete(handle) }
    };
    join(THREAD.swap(null_mut(), Ordering::Acquire));
    print(c"misfit: deregistered", waited);
}

unsafe extern "system" fn decline(_: HANDLE, _: *mut c_void, _: *const NPI_REGISTRATION_INSTANCE) -> NTSTATUS {
    print(c"misfit: declined a provider", STATUS_NOINTERFACE);
    STATUS_NOINTERFACE
}

unsafe extern "system" fn offer_unknown_version(
    binding: HANDLE,
    _: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    /// A client dispatch table of version 999; its size is that of version 1, its function is NULL.
    static TABLE: [u64; 2] = [999 | 16 << 16, 0];
    let (mut context, mut dispatch) = (null_mut(), null());
    // SAFETY: called from the attach callback with its handle; the table is what a provider has to look at.
    let status = unsafe {
        nmr::NmrClientAttachProvider(binding, null_mut(), TABLE.as_ptr().cast(), &mut context, &mut dispatch)
    };
    print(c"misfit: the provider answered version 999 with", status);
    status
}

/// What the sluggard has of its one provider, while it is attached.
static BINDING: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static PROVIDER_CONTEXT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static PROVIDER_TABLE: AtomicPtr<ProviderDispatch> = AtomicPtr::new(null_mut());

unsafe extern "system" fn attach(binding: HANDLE, _: *mut c_void, _: *const NPI_REGISTRATION_INSTANCE) -> NTSTATUS {
    static TABLE: ClientDispatch = ClientDispatch { header: Header::of::<ClientDispatch>(), policy_changed };
    let (mut context, mut dispatch) = (null_mut(), null());
    // SAFETY: called from the attach callback with its handle; table and context live as long as the image.
    let status = unsafe {
        nmr::NmrClientAttachProvider(
            binding,
            BINDING.as_ptr().cast(),
            (&raw const TABLE).cast(),
            &mut context,
            &mut dispatch,
        )
    };
    if status == STATUS_SUCCESS {
        BINDING.store(binding, Ordering::Relaxed);
        PROVIDER_CONTEXT.store(context, Ordering::Relaxed);
        PROVIDER_TABLE.store(dispatch.cast_mut().cast(), Ordering::Release);
    }
    status
}

unsafe extern "system" fn policy_changed(_: *mut c_void, _: u64) {}

/// The thread that completes the sluggard's last detach.
static THREAD: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Leaves the rest to a thread, as if a call into the provider were in progress.
unsafe extern "system" fn detach_slowly(_: *mut c_void) -> NTSTATUS {
    let thread = spawn(call_and_complete);
    join(THREAD.swap(thread, Ordering::AcqRel));
    if thread.is_null() { STATUS_SUCCESS } else { STATUS_PENDING }
}

extern "system" fn call_and_complete(_: *mut c_void) {
    sleep(300);
    let bytes = [0u8; 60];
    let packet = Packet {
        header: Header::of::<Packet>(),
        link_type: link_type::ETHERNET,
        direction: direction::UNSPECIFIED,
        captured_length: bytes.len() as u32,
        wire_length: bytes.len() as u32,
        data: bytes.as_ptr(),
    };
    let mut verdict = MaybeUninit::<Verdict>::uninit();
    // SAFETY: the provider's table stays valid until this side has completed its part of the detach (R51).
    let classify = unsafe { (*PROVIDER_TABLE.load(Ordering::Acquire)).classify };
    // SAFETY: the context is the one that came with the table; one packet, and room for one verdict.
    let status = unsafe { classify(PROVIDER_CONTEXT.load(Ordering::Relaxed), &packet, 1, verdict.as_mut_ptr()) };
    print(c"misfit: the provider still answers", status);
    // SAFETY: the detach callback has returned, or will return, STATUS_PENDING.
    unsafe { nmr::NmrClientDetachProviderComplete(BINDING.load(Ordering::Relaxed)) };
}

/// A guard of one word: a call is in progress, the binding is being detached.
static GUARD: AtomicU32 = AtomicU32::new(0);
const CALLING: u32 = 1;
const DETACHING: u32 = 2;

/// Prints something while the binding is guarded. Broken on purpose: there is no critical region around that, so a
/// thread that is suspended in it holds the detach up.
pub(crate) fn call_with_guard() {
    if GUARD.fetch_or(CALLING, Ordering::AcqRel) & DETACHING != 0 {
        return;
    }
    print(c"misfit: the binding is guarded", STATUS_SUCCESS);
    if GUARD.fetch_and(!CALLING, Ordering::AcqRel) & DETACHING != 0 {
        // SAFETY: the detach callback has returned, or will return, STATUS_PENDING.
        unsafe { nmr::NmrClientDetachProviderComplete(BINDING.load(Ordering::Relaxed)) };
    }
}

unsafe extern "system" fn detach_guarded(_: *mut c_void) -> NTSTATUS {
    if GUARD.fetch_or(DETACHING, Ordering::AcqRel) & CALLING != 0 { STATUS_PENDING } else { STATUS_SUCCESS }
}

unsafe extern "system" fn refuse(
    _: HANDLE,
    _: *mut c_void,
    _: *const NPI_REGISTRATION_INSTANCE,
    _: *mut c_void,
    _: *const c_void,
    _: *mut *mut c_void,
    _: *mut *const c_void,
) -> NTSTATUS {
    print(c"misfit: refused a client", STATUS_NOINTERFACE);
    STATUS_NOINTERFACE
}

unsafe extern "system" fn detach(_: *mut c_void) -> NTSTATUS {
    print(c"misfit: detached", STATUS_SUCCESS);
    STATUS_SUCCESS
}

//! What a module registered: where its structure lies, and what that said at the time.
//!
//! The registrar keeps the module's pointers (R10): peers are given the module's own registration instance, and a
//! structure that changes or goes away while it is registered is noticed, since it is compared with what was read then.

use core::ffi::c_void;

use wdk_nmr_sys::{
    MIT_GUID, MIT_IF_LUID, NPI_CLIENT_ATTACH_PROVIDER_FN, NPI_CLIENT_CHARACTERISTICS, NPI_MODULEID,
    NPI_PROVIDER_ATTACH_CLIENT_FN, NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE, NPIID, NTSTATUS,
};

use crate::life::Side;
use crate::platform::Platform;
use crate::violation::{Module, ModuleId};

/// A pointer that belongs to a module: carried, compared, handed on, never dereferenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opaque(pub(crate) *mut c_void);

// SAFETY: the registrar never dereferences it; whether its target may be used on another thread is for the modules.
unsafe impl Send for Opaque {}
// SAFETY: sharing it gives nobody more than the number.
unsafe impl Sync for Opaque {}

pub(crate) type DetachFn = unsafe extern "system" fn(*mut c_void) -> NTSTATUS;
pub(crate) type CleanupFn = unsafe extern "system" fn(*mut c_void);

/// The attach callback, which differs between the sides.
#[derive(Clone, Copy)]
pub(crate) enum AttachFn {
    Client(NPI_CLIENT_ATTACH_PROVIDER_FN),
    Provider(NPI_PROVIDER_ATTACH_CLIENT_FN),
}

impl AttachFn {
    fn address(self) -> usize {
        match self {
            Self::Client(callback) => callback as usize,
            Self::Provider(callback) => callback as usize,
        }
    }
}

/// Where the module keeps its characteristics.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    Client(*const NPI_CLIENT_CHARACTERISTICS),
    Provider(*const NPI_PROVIDER_CHARACTERISTICS),
}

// SAFETY: the structure stays valid, unmoved and unchanged as long as the module is registered (R10), so it may be read
// from any thread.
unsafe impl Send for Source {}
// SAFETY: nobody writes the structure while the module is registered (R10).
unsafe impl Sync for Source {}

/// The characteristics of either side under one roof; a copy of what was read, for comparison only.
#[derive(Clone, Copy)]
pub(crate) struct Characteristics {
    pub(crate) version: u16,
    pub(crate) length: u16,
    pub(crate) expected_length: u16,
    pub(crate) attach: Option<AttachFn>,
    pub(crate) detach: Option<DetachFn>,
    pub(crate) cleanup: Option<CleanupFn>,
    pub(crate) instance: NPI_REGISTRATION_INSTANCE,
}

impl Source {
    pub(crate) fn side(self) -> Side {
        match self {
            Self::Client(_) => Side::Client,
            Self::Provider(_) => Side::Provider,
        }
    }

    pub(crate) fn address(self) -> usize {
        match self {
            Self::Client(characteristics) => characteristics.addr(),
            Self::Provider(characteristics) => characteristics.addr(),
        }
    }

    pub(crate) fn is_aligned(self) -> bool {
        match self {
            Self::Client(characteristics) => characteristics.is_aligned(),
            Self::Provider(characteristics) => characteristics.is_aligned(),
        }
    }

    /// The module's own registration instance, which its peers are given (R10).
    pub(crate) fn instance(self) -> *const NPI_REGISTRATION_INSTANCE {
        match self {
            Self::Client(characteristics) => characteristics
                .cast::<u8>()
                .wrapping_add(core::mem::offset_of!(NPI_CLIENT_CHARACTERISTICS, ClientRegistrationInstance))
                .cast(),
            Self::Provider(characteristics) => characteristics
                .cast::<u8>()
                .wrapping_add(core::mem::offset_of!(NPI_PROVIDER_CHARACTERISTICS, ProviderRegistrationInstance))
                .cast(),
        }
    }

    /// # Safety
    /// The structure is readable.
    pub(crate) unsafe fn read(self) -> Characteristics {
        match self {
            Self::Client(characteristics) => {
                // SAFETY: the caller says that it is readable; every bit pattern of it is valid.
                let c = unsafe { characteristics.read() };
                Characteristics {
                    version: c.Version,
                    length: c.Length,
                    expected_length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
                    attach: c.ClientAttachProvider.map(AttachFn::Client),
                    detach: c.ClientDetachProvider,
                    cleanup: c.ClientCleanupBindingContext,
                    instance: c.ClientRegistrationInstance,
                }
            }
            Self::Provider(characteristics) => {
                // SAFETY: the caller says that it is readable; every bit pattern of it is valid.
                let c = unsafe { characteristics.read() };
                Characteristics {
                    version: c.Version,
                    length: c.Length,
                    expected_length: size_of::<NPI_PROVIDER_CHARACTERISTICS>() as u16,
                    attach: c.ProviderAttachClient.map(AttachFn::Provider),
                    detach: c.ProviderDetachClient,
                    cleanup: c.ProviderCleanupBindingContext,
                    instance: c.ProviderRegistrationInstance,
                }
            }
        }
    }
}

/// What is needed to call a module back.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    pub(crate) source: Source,
    pub(crate) context: Opaque,
    pub(crate) attach: AttachFn,
    pub(crate) detach: DetachFn,
    pub(crate) cleanup: Option<CleanupFn>,
}

/// What a registration keeps of its module.
#[derive(Clone, Copy)]
pub(crate) struct Registered {
    pub(crate) callbacks: Callbacks,
    pub(crate) npi: NPIID,
    pub(crate) id: ModuleId,
    pub(crate) number: u32,
    /// What else the structure said, for [`Self::is_unchanged`] alone.
    said: Said,
}

/// What a structure says beside the fields that a [`Registered`] has by name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Said {
    version: u16,
    length: u16,
    instance_version: u16,
    instance_size: u16,
    npi: usize,
    id: usize,
    npi_specific: usize,
}

impl Said {
    fn by(c: &Characteristics) -> Self {
        let NPI_REGISTRATION_INSTANCE { Version, Size, NpiId, ModuleId, NpiSpecificCharacteristics, .. } = c.instance;
        Self {
            version: c.version,
            length: c.length,
            instance_version: Version,
            instance_size: Size,
            npi: NpiId.addr(),
            id: ModuleId.addr(),
            npi_specific: NpiSpecificCharacteristics.addr(),
        }
    }
}

impl Registered {
    /// # Safety
    /// All that `c` points to is readable.
    pub(crate) unsafe fn new(
        source: Source,
        context: Opaque,
        c: &Characteristics,
        attach: AttachFn,
        detach: DetachFn,
    ) -> Self {
        // SAFETY: the registrar has refused a NULL NpiId, and the caller says that what is there is readable.
        let npi = unsafe { c.instance.NpiId.read() };
        // SAFETY: the caller says that it is readable.
        let id = unsafe { read_module_id(c.instance.ModuleId) };
        let said = Said::by(c);
        let callbacks = Callbacks { source, context, attach, detach, cleanup: c.cleanup };
        Self { callbacks, npi, id, number: c.instance.Number, said }
    }

    pub(crate) fn side(&self) -> Side {
        self.callbacks.source.side()
    }

    /// Whether the structure still says what it said when it was registered, as far as that can be read.
    pub(crate) fn is_unchanged<P: Platform>(&self, platform: &P) -> bool {
        let Callbacks { source, attach, detach, cleanup, .. } = self.callbacks;
        let length = match source {
            Source::Client(_) => size_of::<NPI_CLIENT_CHARACTERISTICS>(),
            Source::Provider(_) => size_of::<NPI_PROVIDER_CHARACTERISTICS>(),
        };
        if !platform.readable(source.address(), length) {
            return false;
        }
        // SAFETY: the module keeps the structure valid while it is registered (R10), and the platform says that the
        // memory is there even if the module does not.
        let c = unsafe { source.read() };
        let NPI_REGISTRATION_INSTANCE { NpiId, ModuleId, Number, .. } = c.instance;
        let address = |callback: Option<usize>| callback.unwrap_or_default();
        let same = Said::by(&c) == self.said
            && Number == self.number
            && address(c.attach.map(AttachFn::address)) == attach.address()
            && address(c.detach.map(|detach| detach as usize)) == detach as usize
            && address(c.cleanup.map(|cleanup| cleanup as usize)) == address(cleanup.map(|cleanup| cleanup as usize));
        // The pointers are those that were there at the registration, so they are as good as they were then.
        if !same
            || !platform.readable(NpiId.addr(), size_of::<NPIID>())
            || !(ModuleId.is_null() || platform.readable(ModuleId.addr(), size_of::<NPI_MODULEID>()))
        {
            return false;
        }
        // SAFETY: as for the structure.
        let npi = unsafe { NpiId.read() };
        // SAFETY: as for the structure.
        let id = unsafe { read_module_id(ModuleId) };
        npi == self.npi && id == self.id
    }

    /// Who it is, but for its image. `registration`: the handle as a number.
    pub(crate) fn describe(&self, registration: usize) -> Module {
        Module { side: self.side(), npi: self.npi, id: self.id, number: self.number, image: None, registration }
    }

    /// The addresses of its callbacks.
    pub(crate) fn callbacks(&self) -> impl Iterator<Item = usize> {
        let Callbacks { attach, detach, cleanup, .. } = self.callbacks;
        [Some(attach.address()), Some(detach as usize), cleanup.map(|cleanup| cleanup as usize)].into_iter().flatten()
    }

    pub(crate) fn attach_address(&self) -> usize {
        self.callbacks.attach.address()
    }
}

/// # Safety
/// `id` is NULL or readable.
unsafe fn read_module_id(id: *const NPI_MODULEID) -> ModuleId {
    if id.is_null() || !id.is_aligned() {
        return ModuleId::None;
    }
    // SAFETY: it is not NULL, and the caller says that it is readable then.
    let id = unsafe { id.read() };
    match id.Type {
        MIT_GUID => {
            // SAFETY: `Type` names this member.
            ModuleId::Guid(unsafe { id.Id.Guid })
        }
        MIT_IF_LUID => {
            // SAFETY: `Type` names this member.
            ModuleId::IfLuid(unsafe { id.Id.IfLuid })
        }
        _ => ModuleId::None,
    }
}

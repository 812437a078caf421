//! What makes packets come to a callout: provider, sublayer, callout and filters, added in one transaction.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::{mem, ptr};

use wdk_nmr::Passive;
use wdk_wfp_sys::{
    FWP_ACTION_CALLOUT_UNKNOWN, FWP_BYTE_BLOB, FWP_CONDITION_FLAG_IS_LOOPBACK, FWP_CONDITION_VALUE0,
    FWP_CONDITION_VALUE0_0, FWP_MATCH_FLAGS_NONE_SET, FWP_UINT8, FWP_UINT32, FWP_VALUE0, FWP_VALUE0_0, FWPM_ACTION0,
    FWPM_ACTION0_0, FWPM_CALLOUT_FLAG_PERSISTENT, FWPM_CALLOUT0, FWPM_CONDITION_FLAGS, FWPM_DISPLAY_DATA0,
    FWPM_FILTER_CONDITION0, FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT, FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED,
    FWPM_FILTER_FLAG_PERSISTENT, FWPM_FILTER0, FWPM_FILTER0_0, FWPM_PROVIDER_FLAG_PERSISTENT, FWPM_PROVIDER0,
    FWPM_SESSION_FLAG_DYNAMIC, FWPM_SESSION0, FWPM_SUBLAYER_FLAG_PERSISTENT, FWPM_SUBLAYER0, FwpmCalloutAdd0,
    FwpmCalloutDeleteByKey0, FwpmEngineClose0, FwpmEngineOpen0, FwpmFilterAdd0, FwpmFilterDeleteByKey0,
    FwpmProviderAdd0, FwpmProviderDeleteByKey0, FwpmSubLayerAdd0, FwpmSubLayerDeleteByKey0, FwpmTransactionAbort0,
    FwpmTransactionBegin0, FwpmTransactionCommit0, GUID, HANDLE, NTSTATUS, RPC_C_AUTHN_WINNT, STATUS_SUCCESS,
};

use crate::Callout;

/// A name that administrators see, in UTF-16: made by [`name!`](crate::name).
#[derive(Clone, Copy, Debug)]
pub struct Name(&'static [u16]);

impl Name {
    /// A text in UTF-16 that ends with a 0.
    ///
    /// # Panics
    ///
    /// If it does not: at compile time, in a constant.
    #[must_use]
    pub const fn new(text: &'static [u16]) -> Self {
        assert!(matches!(text, [_, .., 0]), "a name is not empty and ends with a 0");
        Self(text)
    }

    fn display(self) -> FWPM_DISPLAY_DATA0 {
        FWPM_DISPLAY_DATA0 { name: self.0.as_ptr().cast_mut(), description: ptr::null_mut() }
    }
}

/// A [`Name`] of a text in ASCII.
///
/// ```
/// # use wfp_engine as _;
/// const NAME: wdk_wfp::Name = wdk_wfp::name!("Example filter");
/// ```
///
/// ```compile_fail,E0080
/// # use wfp_engine as _;
/// const NAME: wdk_wfp::Name = wdk_wfp::name!("Bücher");
/// ```
#[macro_export]
macro_rules! name {
    ($text:literal) => {{
        const TEXT: [u16; $text.len() + 1] = $crate::utf16($text);
        $crate::Name::new(&TEXT)
    }};
}

/// ASCII as UTF-16, with a 0 behind it.
///
/// # Panics
///
/// If it is not ASCII, or of another length: at compile time, where [`name!`](crate::name) calls it.
#[doc(hidden)]
#[must_use]
pub const fn utf16<const N: usize>(text: &str) -> [u16; N] {
    let text = text.as_bytes();
    assert!(text.is_ascii() && text.len() + 1 == N, "a name is in ASCII");
    let mut wide = [0; N];
    let mut index = 0;
    while index < text.len() {
        wide[index] = text[index] as u16;
        index += 1;
    }
    wide
}

/// How long what a session adds lives (W15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the session: nothing is left behind, whatever becomes of the driver.
    Dynamic,
    /// Until it is deleted, across restarts.
    Persistent,
}

/// A session with the engine. It is closed when it is dropped, at PASSIVE_LEVEL.
#[must_use = "the session is closed when this is dropped"]
pub struct Session {
    handle: HANDLE,
    lifetime: Lifetime,
}

// SAFETY: the handle belongs to no thread.
unsafe impl Send for Session {}

impl Session {
    /// Opens a session.
    ///
    /// # Errors
    ///
    /// What `FwpmEngineOpen0` returns, as while the base filtering engine is not running.
    pub fn open(name: Name, lifetime: Lifetime, _: Passive<'_>) -> Result<Self, NTSTATUS> {
        // SAFETY: numbers, and pointers that may be NULL.
        let mut session: FWPM_SESSION0 = unsafe { mem::zeroed() };
        session.displayData = name.display();
        if lifetime == Lifetime::Dynamic {
            session.flags = FWPM_SESSION_FLAG_DYNAMIC;
        }
        let mut handle = ptr::null_mut();
        // SAFETY: the structure and the handle live for the call; the level is PASSIVE_LEVEL.
        let status = unsafe { FwpmEngineOpen0(ptr::null(), RPC_C_AUTHN_WINNT, ptr::null(), &session, &mut handle) };
        result(status).map(|()| Self { handle, lifetime })
    }

    /// Makes changes together or, if `f` fails or cannot be committed, not at all.
    ///
    /// # Errors
    ///
    /// What `f` returns, or the engine.
    pub fn transaction(
        &mut self,
        _: Passive<'_>,
        f: impl FnOnce(&mut Transaction<'_>) -> Result<(), NTSTATUS>,
    ) -> Result<(), NTSTATUS> {
        // SAFETY: the handle is that of a session that is open.
        result(unsafe { FwpmTransactionBegin0(self.handle, 0) })?;
        let done = f(&mut Transaction { handle: self.handle, lifetime: self.lifetime, session: PhantomData });
        if let Err(status) = done {
            // Nothing can be done about a failure, and closing the session aborts what is left.
            // SAFETY: as above.
            unsafe { FwpmTransactionAbort0(self.handle) };
            return Err(status);
        }
        // SAFETY: as above. A commit that fails has aborted the transaction.
        result(unsafe { FwpmTransactionCommit0(self.handle) })
    }

    /// Closes the session; what a dynamic one has added is gone then.
    pub fn close(self, _: Passive<'_>) {
        drop(self);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the handle is that of a session that is open, and used for the last time.
        unsafe { FwpmEngineClose0(self.handle) };
    }
}

fn result(status: NTSTATUS) -> Result<(), NTSTATUS> {
    if status == STATUS_SUCCESS { Ok(()) } else { Err(status) }
}

/// Who provides filters, as administrators see it.
#[derive(Clone, Copy)]
pub struct Provider {
    /// Who it is.
    pub key: GUID,
    /// Its name.
    pub name: Name,
}

/// A sublayer: filters that decide together.
#[derive(Clone, Copy)]
pub struct Sublayer {
    /// Who it is.
    pub key: GUID,
    /// Its name.
    pub name: Name,
    /// Those with more are asked first (W1).
    pub weight: u16,
}

/// A filter that asks a callout about every packet of its layer.
#[derive(Clone, Copy)]
pub struct Filter {
    key: GUID,
    name: Name,
    sublayer: GUID,
    weight: u8,
    flags: u32,
    context: u64,
    leaves_loopback_alone: bool,
}

impl Filter {
    /// A filter in a sublayer, of the least weight. While its callout is not registered it permits: a driver that is
    /// gone does not cut the machine off (W10).
    #[must_use]
    pub const fn new(key: GUID, name: Name, sublayer: GUID) -> Self {
        let flags = FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED;
        Self { key, name, sublayer, weight: 0, flags, context: 0, leaves_loopback_alone: false }
    }

    /// With this weight, from 0 to 15.
    #[must_use]
    pub const fn weight(mut self, weight: u8) -> Self {
        self.weight = if weight > 15 { 15 } else { weight };
        self
    }

    /// Blocks while its callout is not registered: nothing passes when the driver is gone.
    #[must_use]
    pub const fn block_if_unregistered(mut self) -> Self {
        self.flags &= !FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED;
        self
    }

    /// A permit takes the right to block from sublayers of less weight, but for a veto (W5).
    #[must_use]
    pub const fn clear_action_right(mut self) -> Self {
        self.flags |= FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT;
        self
    }

    /// With a number that the callout [is shown](crate::Classification::filter_context).
    #[must_use]
    pub const fn context(mut self, context: u64) -> Self {
        self.context = context;
        self
    }

    /// Does not ask about packets that stay on this machine. Layers of frames have none of them, and no condition that
    /// could tell them.
    #[must_use]
    pub const fn leave_loopback_alone(mut self) -> Self {
        self.leaves_loopback_alone = true;
        self
    }
}

/// Changes that are made together.
pub struct Transaction<'a> {
    handle: HANDLE,
    lifetime: Lifetime,
    session: PhantomData<&'a mut Session>,
}

const NO_DATA: FWP_BYTE_BLOB = FWP_BYTE_BLOB { size: 0, data: ptr::null_mut() };
const NO_DESCRIPTOR: *mut c_void = ptr::null_mut();

impl Transaction<'_> {
    fn flag(&self, persistent: u32) -> u32 {
        if self.lifetime == Lifetime::Persistent { persistent } else { 0 }
    }

    /// Adds a provider.
    ///
    /// # Errors
    ///
    /// What `FwpmProviderAdd0` returns: `STATUS_FWP_ALREADY_EXISTS` for one that is there.
    pub fn add_provider(&mut self, provider: Provider) -> Result<(), NTSTATUS> {
        let provider = FWPM_PROVIDER0 {
            providerKey: provider.key,
            displayData: provider.name.display(),
            flags: self.flag(FWPM_PROVIDER_FLAG_PERSISTENT),
            providerData: NO_DATA,
            serviceName: ptr::null_mut(),
        };
        // SAFETY: the session is open, and the structure lives for the call.
        result(unsafe { FwpmProviderAdd0(self.handle, &provider, NO_DESCRIPTOR) })
    }

    /// Adds a sublayer of a provider.
    ///
    /// # Errors
    ///
    /// What `FwpmSubLayerAdd0` returns: `STATUS_FWP_ALREADY_EXISTS` for one that is there.
    pub fn add_sublayer(&mut self, sublayer: Sublayer, provider: &Provider) -> Result<(), NTSTATUS> {
        let sublayer = FWPM_SUBLAYER0 {
            subLayerKey: sublayer.key,
            displayData: sublayer.name.display(),
            flags: self.flag(FWPM_SUBLAYER_FLAG_PERSISTENT),
            providerKey: (&raw const provider.key).cast_mut(),
            providerData: NO_DATA,
            weight: sublayer.weight,
        };
        // SAFETY: the session is open, and the structure lives for the call.
        result(unsafe { FwpmSubLayerAdd0(self.handle, &sublayer, NO_DESCRIPTOR) })
    }

    /// Adds a callout, so that filters can name it. Whether it is registered does not matter.
    ///
    /// # Errors
    ///
    /// What `FwpmCalloutAdd0` returns: `STATUS_FWP_ALREADY_EXISTS` for one that is there.
    pub fn add_callout<T: Callout>(&mut self, name: Name, provider: &Provider) -> Result<(), NTSTATUS> {
        let callout = FWPM_CALLOUT0 {
            calloutKey: T::KEY,
            displayData: name.display(),
            flags: self.flag(FWPM_CALLOUT_FLAG_PERSISTENT),
            providerKey: (&raw const provider.key).cast_mut(),
            providerData: NO_DATA,
            applicableLayer: T::LAYER.key(),
            calloutId: 0,
        };
        // SAFETY: the session is open, and the structure lives for the call.
        result(unsafe { FwpmCalloutAdd0(self.handle, &callout, NO_DESCRIPTOR, ptr::null_mut()) })
    }

    /// Adds a filter that asks the callout `T`, in its layer.
    ///
    /// # Errors
    ///
    /// What `FwpmFilterAdd0` returns.
    pub fn add_filter<T: Callout>(&mut self, filter: Filter, provider: &Provider) -> Result<(), NTSTATUS> {
        let mut not_loopback = FWPM_FILTER_CONDITION0 {
            fieldKey: FWPM_CONDITION_FLAGS,
            matchType: FWP_MATCH_FLAGS_NONE_SET,
            conditionValue: FWP_CONDITION_VALUE0 {
                r#type: FWP_UINT32,
                Anonymous: FWP_CONDITION_VALUE0_0 { uint32: FWP_CONDITION_FLAG_IS_LOOPBACK },
            },
        };
        let filter = FWPM_FILTER0 {
            filterKey: filter.key,
            displayData: filter.name.display(),
            flags: filter.flags | self.flag(FWPM_FILTER_FLAG_PERSISTENT),
            providerKey: (&raw const provider.key).cast_mut(),
            providerData: NO_DATA,
            layerKey: T::LAYER.key(),
            subLayerKey: filter.sublayer,
            weight: FWP_VALUE0 { r#type: FWP_UINT8, Anonymous: FWP_VALUE0_0 { uint8: filter.weight } },
            numFilterConditions: u32::from(filter.leaves_loopback_alone && T::LAYER.flags().is_some()),
            filterCondition: &raw mut not_loopback,
            action: FWPM_ACTION0 {
                r#type: FWP_ACTION_CALLOUT_UNKNOWN,
                Anonymous: FWPM_ACTION0_0 { calloutKey: T::KEY },
            },
            Anonymous: FWPM_FILTER0_0 { rawContext: filter.context },
            reserved: ptr::null_mut(),
            filterId: 0,
            effectiveWeight: FWP_VALUE0 { r#type: 0, Anonymous: FWP_VALUE0_0 { uint64: ptr::null_mut() } },
        };
        // SAFETY: the session is open, and the structures live for the call.
        result(unsafe { FwpmFilterAdd0(self.handle, &filter, NO_DESCRIPTOR, ptr::null_mut()) })
    }

    /// Deletes a filter.
    ///
    /// # Errors
    ///
    /// `STATUS_FWP_FILTER_NOT_FOUND`.
    pub fn delete_filter(&mut self, key: &GUID) -> Result<(), NTSTATUS> {
        // SAFETY: the session is open, and the key lives for the call.
        result(unsafe { FwpmFilterDeleteByKey0(self.handle, key) })
    }

    /// Deletes a callout that no filter names.
    ///
    /// # Errors
    ///
    /// `STATUS_FWP_CALLOUT_NOT_FOUND`, `STATUS_FWP_IN_USE`.
    pub fn delete_callout<T: Callout>(&mut self) -> Result<(), NTSTATUS> {
        // SAFETY: the session is open, and the key lives for the call.
        result(unsafe { FwpmCalloutDeleteByKey0(self.handle, &T::KEY) })
    }

    /// Deletes a sublayer without filters.
    ///
    /// # Errors
    ///
    /// `STATUS_FWP_SUBLAYER_NOT_FOUND`, `STATUS_FWP_IN_USE`.
    pub fn delete_sublayer(&mut self, key: &GUID) -> Result<(), NTSTATUS> {
        // SAFETY: the session is open, and the key lives for the call.
        result(unsafe { FwpmSubLayerDeleteByKey0(self.handle, key) })
    }

    /// Deletes a provider that nothing else names.
    ///
    /// # Errors
    ///
    /// `STATUS_FWP_PROVIDER_NOT_FOUND`, `STATUS_FWP_IN_USE`.
    pub fn delete_provider(&mut self, key: &GUID) -> Result<(), NTSTATUS> {
        // SAFETY: the session is open, and the key lives for the call.
        result(unsafe { FwpmProviderDeleteByKey0(self.handle, key) })
    }
}

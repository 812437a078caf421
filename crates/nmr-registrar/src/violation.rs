//! What the registrar says about a module that broke a rule.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::fmt;

use wdk_nmr_sys::{GUID, LUID, NPIID};

use crate::life::Side;

/// The nine functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// `NmrRegisterClient`
    RegisterClient,
    /// `NmrDeregisterClient`
    DeregisterClient,
    /// `NmrWaitForClientDeregisterComplete`
    WaitForClientDeregisterComplete,
    /// `NmrClientAttachProvider`
    ClientAttachProvider,
    /// `NmrClientDetachProviderComplete`
    ClientDetachProviderComplete,
    /// `NmrRegisterProvider`
    RegisterProvider,
    /// `NmrDeregisterProvider`
    DeregisterProvider,
    /// `NmrWaitForProviderDeregisterComplete`
    WaitForProviderDeregisterComplete,
    /// `NmrProviderDetachClientComplete`
    ProviderDetachClientComplete,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RegisterClient,
        Self::DeregisterClient,
        Self::WaitForClientDeregisterComplete,
        Self::ClientAttachProvider,
        Self::ClientDetachProviderComplete,
        Self::RegisterProvider,
        Self::DeregisterProvider,
        Self::WaitForProviderDeregisterComplete,
        Self::ProviderDetachClientComplete,
    ];

    /// The name in C.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RegisterClient => "NmrRegisterClient",
            Self::DeregisterClient => "NmrDeregisterClient",
            Self::WaitForClientDeregisterComplete => "NmrWaitForClientDeregisterComplete",
            Self::ClientAttachProvider => "NmrClientAttachProvider",
            Self::ClientDetachProviderComplete => "NmrClientDetachProviderComplete",
            Self::RegisterProvider => "NmrRegisterProvider",
            Self::DeregisterProvider => "NmrDeregisterProvider",
            Self::WaitForProviderDeregisterComplete => "NmrWaitForProviderDeregisterComplete",
            Self::ProviderDetachClientComplete => "NmrProviderDetachClientComplete",
        }
    }
}

/// The six callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Callback {
    /// `ClientAttachProvider`
    ClientAttachProvider,
    /// `ClientDetachProvider`
    ClientDetachProvider,
    /// `ClientCleanupBindingContext`
    ClientCleanupBindingContext,
    /// `ProviderAttachClient`
    ProviderAttachClient,
    /// `ProviderDetachClient`
    ProviderDetachClient,
    /// `ProviderCleanupBindingContext`
    ProviderCleanupBindingContext,
}

impl Callback {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ClientAttachProvider,
        Self::ClientDetachProvider,
        Self::ClientCleanupBindingContext,
        Self::ProviderAttachClient,
        Self::ProviderDetachClient,
        Self::ProviderCleanupBindingContext,
    ];

    /// The name of its field in the characteristics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientAttachProvider => "ClientAttachProvider",
            Self::ClientDetachProvider => "ClientDetachProvider",
            Self::ClientCleanupBindingContext => "ClientCleanupBindingContext",
            Self::ProviderAttachClient => "ProviderAttachClient",
            Self::ProviderDetachClient => "ProviderDetachClient",
            Self::ProviderCleanupBindingContext => "ProviderCleanupBindingContext",
        }
    }

    /// Whose callback it is.
    #[must_use]
    pub const fn side(self) -> Side {
        match self {
            Self::ClientAttachProvider | Self::ClientDetachProvider | Self::ClientCleanupBindingContext => Side::Client,
            _ => Side::Provider,
        }
    }

    pub(crate) const fn detach(side: Side) -> Self {
        match side {
            Side::Client => Self::ClientDetachProvider,
            Side::Provider => Self::ProviderDetachClient,
        }
    }

    pub(crate) const fn cleanup(side: Side) -> Self {
        match side {
            Side::Client => Self::ClientCleanupBindingContext,
            Side::Provider => Self::ProviderCleanupBindingContext,
        }
    }
}

/// Where a violation was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a call that the module made.
    Function(Function),
    /// In a call that the registrar made.
    Callback(Callback),
    /// In a call that the module made into its peer, as a test has reported it.
    Call,
    /// When a driver image went away.
    ImageUnload,
    /// When a test ended.
    End,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Function(function) => function.name(),
            Self::Callback(callback) => callback.name(),
            Self::Call => "a call into the peer",
            Self::ImageUnload => "the unload of an image",
            Self::End => "the end of the session",
        })
    }
}

/// What a module said about its identity when it registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleId {
    /// `MIT_GUID`
    Guid(GUID),
    /// `MIT_IF_LUID`
    IfLuid(LUID),
    /// NULL, or of an unknown type.
    None,
}

/// Whose registration a violation or report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The role that it registered in.
    pub side: Side,
    /// The interface.
    pub npi: NPIID,
    /// Its identity.
    pub id: ModuleId,
    /// `Number` of its registration instance.
    pub number: u32,
    /// The image that contains its attach callback, where the platform knows.
    pub image: Option<String>,
    /// The registration handle as a number.
    pub registration: usize,
}

/// A GUID in the form that people write.
pub(crate) struct Braced<'a>(pub(crate) &'a GUID);

impl fmt::Display for Braced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GUID { Data1, Data2, Data3, Data4: d } = self.0;
        write!(f, "{{{Data1:08X}-{Data2:04X}-{Data3:04X}-{:02X}{:02X}-", d[0], d[1])?;
        d[2..].iter().try_for_each(|byte| write!(f, "{byte:02X}"))?;
        f.write_str("}")
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.side {
            Side::Client => "client",
            Side::Provider => "provider",
        })?;
        match &self.id {
            ModuleId::Guid(guid) => write!(f, " module {}", Braced(guid))?,
            ModuleId::IfLuid(luid) => write!(f, " module LUID {:08X}{:08X}", luid.HighPart, luid.LowPart)?,
            ModuleId::None => f.write_str(" module without id")?,
        }
        if let Some(image) = &self.image {
            write!(f, " in {image}")?;
        }
        write!(f, ", number {}, NPI {}, registration {:#x}", self.number, Braced(&self.npi), self.registration)
    }
}

/// A rule that a module broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The number of the rule: 26 is [R26](crate::rules#r26).
    pub rule: u8,
    /// Where it was noticed.
    pub place: Place,
    /// Whose fault it is, where that is known: a bad handle does not say whose it is.
    pub module: Option<Module>,
    /// The binding's handle as a number, if it is about one.
    pub binding: Option<usize>,
    /// What the module did.
    pub found: Cow<'static, str>,
    /// What it should have done.
    pub expected: &'static str,
}

impl Violation {
    /// Where the rule can be read, as a path in this package and in its repository: `docs/nmr-rules.md#r26`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("docs/nmr-rules.md#r{}", self.rule)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R{} broken in {}: {}; expected: {}", self.rule, self.place, self.found, self.expected)?;
        match &self.module {
            Some(module) => write!(f, "; by {module}")?,
            None => f.write_str("; by an unknown module")?,
        }
        if let Some(binding) = self.binding {
            write!(f, "; binding {binding:#x}")?;
        }
        write!(f, "; see {}", self.reference())
    }
}

//! What a module says about itself when it registers.

use wdk_nmr_sys::NPIID;

use crate::module_id::ModuleId;

/// What a module tells NMR about itself, and what it wants of the library. `C` is what it hands out as NPI-specific
/// characteristics: a structure, an `Option` of one, or `()`, as the interface says.
#[derive(Clone, Debug)]
#[must_use]
pub struct RegistrationOptions<C> {
    pub(crate) npi_id: Option<NPIID>,
    pub(crate) module_id: ModuleId,
    pub(crate) version: u16,
    pub(crate) number: u32,
    pub(crate) characteristics: C,
    pub(crate) one_peer: bool,
    pub(crate) clock: Option<fn() -> u64>,
}

impl<C> RegistrationOptions<C> {
    /// A module with these characteristics; `()` if the interface has none.
    pub const fn new(module_id: ModuleId, characteristics: C) -> Self {
        Self { npi_id: None, module_id, version: 0, number: 0, characteristics, one_peer: false, clock: None }
    }

    /// Registers this identifier and not [`Npi::ID`](crate::Npi::ID): for an interface of which there are many that
    /// differ in the identifier alone, such as one for each of the programs that somebody has loaded.
    ///
    /// # Safety
    ///
    /// What [`Npi`](crate::Npi) says of modules that register `Npi::ID` is also true of those that register `id`.
    pub const unsafe fn npi_id(mut self, id: NPIID) -> Self {
        self.npi_id = Some(id);
        self
    }

    /// The version of the registration instance. 0 unless it is set, as Microsoft's documentation has it; some
    /// interfaces use it as the version of their protocol (R12), and their peers refuse every other.
    pub const fn version(mut self, version: u16) -> Self {
        self.version = version;
        self
    }

    /// Says which of the module's implementations of the interface this is. Without it the number is 0.
    pub const fn number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Refuses further peers with STATUS_NOINTERFACE while one is attached or being attached. The attach function is
    /// not called for them, and the first one does not notice (M16). A peer that is on its way out does not count.
    ///
    /// NMR does not offer a refused peer again (R32).
    pub const fn one_peer(mut self) -> Self {
        self.one_peer = true;
        self
    }

    /// Gives the library a clock, from which a diagnosis says how long a detach has been pending. It is read at up to
    /// DISPATCH_LEVEL; `KeQueryInterruptTime` will do. The unit is the clock's.
    pub const fn clock(mut self, clock: fn() -> u64) -> Self {
        self.clock = Some(clock);
        self
    }
}

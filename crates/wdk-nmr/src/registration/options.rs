//! What a module says about itself when it registers.

use crate::module_id::ModuleId;
use crate::npi::NpiStructure;

/// What a module tells NMR about itself, and what it wants of the library. `C` is the type of its NPI-specific
/// characteristics.
#[derive(Clone, Debug)]
#[must_use]
pub struct RegistrationOptions<C> {
    pub(crate) module_id: ModuleId,
    pub(crate) number: u32,
    pub(crate) characteristics: C,
    pub(crate) one_peer: bool,
    pub(crate) clock: Option<fn() -> u64>,
}

impl<C: NpiStructure> RegistrationOptions<C> {
    /// A module with these characteristics; `()` if the interface has none.
    pub const fn new(module_id: ModuleId, characteristics: C) -> Self {
        Self { module_id, number: 0, characteristics, one_peer: false, clock: None }
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

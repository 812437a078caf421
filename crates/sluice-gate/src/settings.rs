//! What an administrator has set.

use sluice_control::NTSTATUS;
use sluice_control::gate::settings;
use sluice_control::status::STATUS_INVALID_PARAMETER;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It passes, as far as gate.sys is concerned.
    Permit,
    /// It does not.
    Block,
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// IPv4 and IPv6 packets: received, sent and forwarded.
    IpPackets,
    /// Ethernet frames, whatever is in them: received and sent.
    EthernetFrames,
}

/// The settings, or what is documented for those that are not set ([`sluice_control::gate::settings`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What becomes of packets while no Sluice is attached.
    pub when_no_sluice: Treatment,
    /// What becomes of packets that cannot be read.
    pub on_malformed: Treatment,
    /// Whether the sender of a packet that is blocked is told.
    pub reports_blocked: bool,
    /// Whether packets that stay on this machine are judged.
    pub judges_loopback: bool,
    /// What is judged.
    pub judged: Judged,
    /// Whether the driver filters as soon as it has started.
    pub enable_at_start: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            when_no_sluice: Treatment::Permit,
            on_malformed: Treatment::Block,
            reports_blocked: false,
            judges_loopback: false,
            judged: Judged::IpPackets,
            enable_at_start: false,
        }
    }
}

/// A setting that keeps the driver from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its name.
    pub setting: &'static str,
    /// Why.
    pub status: NTSTATUS,
}

impl Settings {
    /// The settings as `dword` reads them, each by its name; `None` is one that is not set.
    ///
    /// # Errors
    ///
    /// One cannot be read or has a number that is not allowed.
    pub fn read(mut dword: impl FnMut(&'static str) -> Result<Option<u32>, NTSTATUS>) -> Result<Self, Rejected> {
        let default = Self::default();
        let mut value = |setting: &'static str| dword(setting).map_err(|status| Rejected { setting, status });
        let treatment = |setting, number: Option<u32>, default| match number {
            None => Ok(default),
            Some(settings::PERMIT) => Ok(Treatment::Permit),
            Some(settings::BLOCK) => Ok(Treatment::Block),
            Some(_) => Err(Rejected { setting, status: STATUS_INVALID_PARAMETER }),
        };
        let flag = |setting, number: Option<u32>| match number {
            None | Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(_) => Err(Rejected { setting, status: STATUS_INVALID_PARAMETER }),
        };
        let judged = |setting, number: Option<u32>| match number {
            None | Some(settings::IP_PACKETS) => Ok(Judged::IpPackets),
            Some(settings::ETHERNET_FRAMES) => Ok(Judged::EthernetFrames),
            Some(_) => Err(Rejected { setting, status: STATUS_INVALID_PARAMETER }),
        };
        let when_no_sluice = value(settings::WHEN_NO_SLUICE)?;
        let on_malformed = value(settings::ON_MALFORMED)?;
        Ok(Self {
            when_no_sluice: treatment(settings::WHEN_NO_SLUICE, when_no_sluice, default.when_no_sluice)?,
            on_malformed: treatment(settings::ON_MALFORMED, on_malformed, default.on_malformed)?,
            reports_blocked: flag(settings::REPORT_BLOCKED, value(settings::REPORT_BLOCKED)?)?,
            judges_loopback: flag(settings::LOOPBACK, value(settings::LOOPBACK)?)?,
            judged: judged(settings::LAYERS, value(settings::LAYERS)?)?,
            enable_at_start: flag(settings::ENABLE_AT_START, value(settings::ENABLE_AT_START)?)?,
        })
    }
}

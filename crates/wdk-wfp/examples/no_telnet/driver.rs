use wdk_wfp::{
    Answer, Callout, Classification, Device, Filter, GUID, GatherBuffers, Home, Layer, Lifetime, Malformed, NTSTATUS,
    Name, Passive, Provider, Registration, Session, Sublayer, name,
};

const NAME: Name = name!("No Telnet");
const PROVIDER: Provider = Provider { key: key(1), name: NAME };
const SUBLAYER: Sublayer = Sublayer { key: key(2), name: NAME, weight: 0x8000 };
const FILTER: Filter = Filter::new(key(3), NAME, SUBLAYER.key).leave_loopback_alone();

const fn key(last: u128) -> GUID {
    GUID::from_u128(0x2f1f_5f35_93a0_4c1f_9a51_0d6c_7f0b_5100 + last)
}

/// The callout: blocks what is sent to port 23 of TCP, over IPv4.
struct NoTelnet {
    buffers: GatherBuffers,
}

impl NoTelnet {
    fn passes(&self, shown: &Classification<'_>) -> Result<bool, Malformed> {
        // Without a buffer not everything can be read, and what cannot be read does not pass.
        let Some(mut buffer) = self.buffers.take() else { return Ok(false) };
        for packet in shown.packets()? {
            let ip = packet.bytes(&mut buffer)?.data();
            let header = usize::from(ip.first().unwrap_or(&0) & 15) * 4;
            let is_later_fragment = matches!(ip.get(6..8), Some([high, low]) if high & 0x1f != 0 || *low != 0);
            let port = ip.get(header..).and_then(|tcp| tcp.get(2..4));
            if ip.get(9) == Some(&6) && !is_later_fragment && port.is_none_or(|port| port == 23_u16.to_be_bytes()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Callout for NoTelnet {
    const KEY: GUID = key(4);
    const LAYER: Layer = Layer::OutboundIpV4;

    fn home() -> &'static Home<Self> {
        static HOME: Home<NoTelnet> = Home::new();
        &HOME
    }

    fn classify(&self, shown: &Classification<'_>) -> Answer {
        if self.passes(shown) == Ok(true) { Answer::Continue } else { Answer::Block { silently: false } }
    }
}

/// The driver while it runs. The session goes first, so that nobody asks any more.
pub(crate) struct Driver {
    _session: Session,
    _callout: Registration<NoTelnet>,
}

/// Begins to filter: what DriverEntry calls last. DriverUnload drops the driver at PASSIVE_LEVEL.
pub(crate) fn start(device: Device, passive: Passive<'_>) -> Result<Driver, NTSTATUS> {
    const NO_MEMORY: NTSTATUS = 0xC000_009A_u32 as NTSTATUS;
    // Room for IPv4 and TCP headers with all options.
    let buffers = GatherBuffers::new(64, 60 + 60).ok_or(NO_MEMORY)?;
    let callout = Registration::register(NoTelnet { buffers }, device, passive)?;
    let mut session = Session::open(NAME, Lifetime::Dynamic, passive)?;
    session.transaction(passive, |changes| {
        changes.add_provider(PROVIDER)?;
        changes.add_sublayer(SUBLAYER, &PROVIDER)?;
        changes.add_callout::<NoTelnet>(NAME, &PROVIDER)?;
        changes.add_filter::<NoTelnet>(FILTER, &PROVIDER)
    })?;
    Ok(Driver { _session: session, _callout: callout })
}

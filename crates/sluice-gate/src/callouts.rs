//! Where packets are seen, and the filters that make them come.

use sluice_control::NTSTATUS;
use wdk_wfp::{
    Answer, Callout, Classification, Device, Filter, GUID, Home, Layer, Name, Passive, Provider, Registration,
    Sublayer, Transaction, name,
};

use crate::{Judged, Settings};

/// What all callouts share: it says what is to become of the packets that one of them is shown.
pub trait Decide: Send + Sync {
    /// At up to DISPATCH_LEVEL, by several threads at a time.
    fn decide(&self, shown: &Classification<'_>) -> Answer;
}

pub(crate) const NAME: Name = name!("Sluice gate");
const PROVIDER: Provider = Provider { key: key(0), name: NAME };
/// In the middle: sublayers above and below may block what this one permits.
const SUBLAYER: Sublayer = Sublayer { key: key(1), name: NAME, weight: 0x8000 };

/// 8f1c52d0-6a3e-4d7b-b0a9-5e1f27c4d300, and those that follow.
const fn key(number: u128) -> GUID {
    GUID::from_u128(0x8f1c_52d0_6a3e_4d7b_b0a9_5e1f_27c4_d300_u128.saturating_add(number))
}

/// The callout of one layer.
struct At<const LAYER: usize>(&'static dyn Decide);

/// The layers, each with its number among the callouts.
macro_rules! callouts {
    ($($number:literal: $field:ident at $layer:ident),* $(,)?) => {
        $(impl Callout for At<$number> {
            const KEY: GUID = key(0x10 + $number);
            const LAYER: Layer = Layer::$layer;

            fn home() -> &'static Home<Self> {
                static HOME: Home<At<$number>> = Home::new();
                &HOME
            }

            fn classify(&self, shown: &Classification<'_>) -> Answer {
                self.0.decide(shown)
            }
        })*

        /// The callouts, registered. They are unregistered when this is dropped, at PASSIVE_LEVEL, and the calls in
        /// progress are waited for.
        #[must_use = "the callouts are unregistered when this is dropped"]
        pub struct Callouts {
            $($field: Registration<At<$number>>,)*
        }

        impl Callouts {
            /// Registers all callouts. Nobody asks them until filters do.
            ///
            /// # Errors
            ///
            /// What WFP says; none is registered then.
            pub fn register(
                decide: &'static dyn Decide,
                device: Device,
                passive: Passive<'_>,
            ) -> Result<Self, NTSTATUS> {
                Ok(Self { $($field: Registration::register(At::<$number>(decide), device, passive)?,)* })
            }

            /// Unregisters them, and waits until no call of any is in progress.
            pub fn unregister(self, passive: Passive<'_>) {
                $(self.$field.unregister(passive);)*
            }
        }

        /// Adds all that makes what is judged come to the callouts.
        pub(crate) fn add_filters(changes: &mut Transaction<'_>, settings: &Settings) -> Result<(), NTSTATUS> {
            changes.add_provider(PROVIDER)?;
            changes.add_sublayer(SUBLAYER, &PROVIDER)?;
            $(if Layer::$layer.has_frames() == (settings.judged == Judged::EthernetFrames) {
                changes.add_callout::<At<$number>>(NAME, &PROVIDER)?;
                let filter = Filter::new(key(0x20 + $number), NAME, SUBLAYER.key);
                let filter = if settings.judges_loopback { filter } else { filter.leave_loopback_alone() };
                changes.add_filter::<At<$number>>(filter, &PROVIDER)?;
            })*
            Ok(())
        }
    };
}
callouts! {
    0: inbound_v4 at InboundIpV4,
    1: inbound_v6 at InboundIpV6,
    2: outbound_v4 at OutboundIpV4,
    3: outbound_v6 at OutboundIpV6,
    4: forward_v4 at ForwardIpV4,
    5: forward_v6 at ForwardIpV6,
    6: inbound_frames at InboundEthernet,
    7: outbound_frames at OutboundEthernet,
}

//! What a callout is shown for the time of one call.

use wdk_wfp_sys::{
    FWP_CONDITION_FLAG_IS_LOOPBACK, FWP_UINT32, FWPS_CLASSIFY_OUT0, FWPS_FILTER2, FWPS_INCOMING_METADATA_VALUES0,
    FWPS_INCOMING_VALUES0, FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE, FWPS_METADATA_FIELD_IP_HEADER_SIZE,
    NET_BUFFER_LIST,
};

use crate::{Layer, Malformed, Packets, Rights};

/// What WFP shows a callout. It ends with the call, and so does all that is borrowed from it.
///
/// ```compile_fail,E0521
/// # use wfp_engine as _;
/// use std::sync::Mutex;
/// use wdk_wfp::{Classification, Packets};
///
/// // a packet that is kept would be looked at when WFP has long freed it.
/// fn keep(shown: &Classification<'_>, kept: &Mutex<Vec<Packets<'static>>>) {
///     kept.lock().unwrap().extend(shown.packets());
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Classification<'a> {
    layer: Layer,
    values: &'a FWPS_INCOMING_VALUES0,
    metadata: Option<&'a FWPS_INCOMING_METADATA_VALUES0>,
    list: *const NET_BUFFER_LIST,
    filter: &'a FWPS_FILTER2,
    rights: Rights,
}

impl<'a> Classification<'a> {
    /// # Safety
    ///
    /// For `'a`, everything is as WFP passes it to a callout at this layer.
    pub(crate) unsafe fn new(
        layer: Layer,
        values: &'a FWPS_INCOMING_VALUES0,
        metadata: Option<&'a FWPS_INCOMING_METADATA_VALUES0>,
        list: *const NET_BUFFER_LIST,
        filter: &'a FWPS_FILTER2,
        out: &FWPS_CLASSIFY_OUT0,
    ) -> Self {
        Self { layer, values, metadata, list, filter, rights: Rights::of(out) }
    }

    /// Where the packet is.
    #[must_use]
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// What the callout may answer: nothing needs to be looked at if that is nothing.
    #[must_use]
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// The number that whoever added the filter gave it. Anybody who may add filters may give any number.
    #[must_use]
    pub fn filter_context(&self) -> u64 {
        self.filter.context
    }

    /// A value of the layer that is a number of 32 bits, by its index in the layer's `FWPS_FIELDS_...`. `None` if there
    /// is no such value or it is of another type.
    #[must_use]
    pub fn value(&self, index: usize) -> Option<u32> {
        if index >= self.values.valueCount as usize || self.values.incomingValue.is_null() {
            return None;
        }
        // SAFETY: there are `valueCount` values.
        let place = unsafe { self.values.incomingValue.add(index) };
        // SAFETY: as above.
        let value = unsafe { (*place).value };
        if value.r#type != FWP_UINT32 {
            return None;
        }
        // SAFETY: the type says that this member is valid.
        Some(unsafe { value.Anonymous.uint32 })
    }

    /// The index of the interface; of a forwarded packet, that on which it leaves.
    #[must_use]
    pub fn interface_index(&self) -> Option<u32> {
        self.value(self.layer.interface_index())
    }

    /// Whether the packet stays on this machine. `None` if that is not known, as in layers of frames.
    #[must_use]
    pub fn is_loopback(&self) -> Option<bool> {
        Some(self.value(self.layer.flags()?)? & FWP_CONDITION_FLAG_IS_LOOPBACK != 0)
    }

    /// How many bytes before the data the first header begins: in received packets the header has been taken off
    /// (W12). `None` if the metadata that say it are missing.
    fn before_data(&self) -> Option<u32> {
        match self.layer {
            Layer::InboundIpV4 | Layer::InboundIpV6 => {
                let metadata = self.metadata?;
                (metadata.currentMetadataValues & FWPS_METADATA_FIELD_IP_HEADER_SIZE != 0)
                    .then_some(metadata.ipHeaderSize)
            }
            Layer::InboundEthernet => {
                let metadata = self.metadata?;
                (metadata.currentL2MetadataValues & FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE != 0)
                    .then_some(metadata.ethernetMacHeaderSize)
            }
            _ => Some(0),
        }
    }

    /// The packets, each from its first header on.
    ///
    /// # Errors
    ///
    /// [`Malformed::NoMetadata`], [`Malformed::NoList`] or [`Malformed::NoBuffers`].
    pub fn packets(&self) -> Result<Packets<'a>, Malformed> {
        let before_data = self.before_data().ok_or(Malformed::NoMetadata)?;
        // SAFETY: the list is as WFP passes it, for `'a`.
        unsafe { Packets::new(self.list, before_data) }
    }
}

//! The layouts of the C headers, asserted for every 64-bit target.

use crate::*;

/// Fails the build unless a type has this size and alignment and its fields lie at these offsets.
macro_rules! assert_layout {
    ($type:ty: size $size:literal, align $align:literal $(, $field:ident @ $offset:literal)* $(,)?) => {
        const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() == $align);
        $(const _: () = assert!(core::mem::offset_of!($type, $field) == $offset);)*
    };
}

assert_layout!(GUID: size 16, align 4);
assert_layout!(FWPS_ACTION0: size 8, align 4, r#type @ 0, calloutId @ 4);
// Not one union of all three: the type stands before the GUID.
assert_layout!(FWPM_ACTION0: size 20, align 4, r#type @ 0, Anonymous @ 4);
assert_layout!(FWPS_INBOUND_FRAGMENT_METADATA0: size 12, align 4,
    fragmentIdentification @ 0, fragmentOffset @ 4, fragmentLength @ 8);

#[cfg(target_pointer_width = "64")]
mod pointers {
    use super::*;

    assert_layout!(FWP_VALUE0: size 16, align 8, r#type @ 0, Anonymous @ 8);
    assert_layout!(FWPS_INCOMING_VALUE0: size 16, align 8, value @ 0);
    assert_layout!(FWPS_INCOMING_VALUES0: size 16, align 8, layerId @ 0, valueCount @ 4, incomingValue @ 8);
    assert_layout!(FWPS_DISCARD_METADATA0: size 16, align 8, discardModule @ 0, discardReason @ 4, filterId @ 8);
    assert_layout!(FWPS_INCOMING_METADATA_VALUES0: size 240, align 8,
        currentMetadataValues @ 0, flags @ 4, reserved @ 8, discardMetadata @ 16, flowHandle @ 32, ipHeaderSize @ 40,
        transportHeaderSize @ 44, processPath @ 48, token @ 56, processId @ 64, sourceInterfaceIndex @ 72,
        destinationInterfaceIndex @ 76, compartmentId @ 80, fragmentMetadata @ 84, pathMtu @ 96,
        completionHandle @ 104, transportEndpointHandle @ 112, remoteScopeId @ 120, controlData @ 128,
        controlDataLength @ 136, packetDirection @ 140, headerIncludeHeader @ 144, headerIncludeHeaderLength @ 152,
        destinationPrefix @ 156, frameLength @ 188, parentEndpointHandle @ 192, icmpIdAndSequence @ 200,
        localRedirectTargetPID @ 204, originalDestination @ 208, redirectRecords @ 216,
        currentL2MetadataValues @ 224, l2Flags @ 228, ethernetMacHeaderSize @ 232, wiFiOperationMode @ 236);
    assert_layout!(FWPS_FILTER2: size 64, align 8, filterId @ 0, weight @ 8, subLayerWeight @ 24, flags @ 26,
        numFilterConditions @ 28, filterCondition @ 32, action @ 40, context @ 48, providerContext @ 56);
    assert_layout!(FWPS_CLASSIFY_OUT0: size 40, align 8,
        actionType @ 0, outContext @ 8, filterId @ 16, rights @ 24, flags @ 28, reserved @ 32);
    assert_layout!(FWPS_CALLOUT2: size 48, align 8,
        calloutKey @ 0, flags @ 16, classifyFn @ 24, notifyFn @ 32, flowDeleteFn @ 40);
    assert_layout!(FWPM_FILTER0: size 200, align 8, filterKey @ 0, displayData @ 16, flags @ 32, providerKey @ 40,
        providerData @ 48, layerKey @ 64, subLayerKey @ 80, weight @ 96, numFilterConditions @ 112,
        filterCondition @ 120, action @ 128, Anonymous @ 152, reserved @ 168, filterId @ 176, effectiveWeight @ 184);
    assert_layout!(MDL: size 48, align 8, Next @ 0, Size @ 8, MdlFlags @ 10, Process @ 16, MappedSystemVa @ 24,
        StartVa @ 32, ByteCount @ 40, ByteOffset @ 44);
    assert_layout!(NET_BUFFER: size 176, align 16, Next @ 0, CurrentMdl @ 8, CurrentMdlOffset @ 16, DataLength @ 24,
        MdlChain @ 32, DataOffset @ 40, ChecksumBias @ 48, Reserved @ 50, NdisPoolHandle @ 56, NdisReserved @ 64,
        ProtocolReserved @ 80, MiniportReserved @ 128, DataPhysicalAddress @ 160, SharedMemoryInfo @ 168);
    assert_layout!(NET_BUFFER_LIST: size 144, align 16, Next @ 0, FirstNetBuffer @ 8, Context @ 16,
        ParentNetBufferList @ 24, NdisPoolHandle @ 32, NdisReserved @ 48, ProtocolReserved @ 64,
        MiniportReserved @ 96, Scratch @ 112, SourceHandle @ 120, NblFlags @ 128, ChildRefCount @ 132, Flags @ 136,
        Status @ 140);
}

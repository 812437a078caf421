//! Every structure and constant of the callout side is as C declares it, for both 64-bit targets: compared with the
//! declarations in `tests/c/wfp.h` by clang and, in a WDK prompt, with the WDK's headers. Without clang these tests do
//! nothing but say so.

#![allow(non_snake_case, reason = "the names are those of the C headers")]

use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use wdk_wfp_sys::*;

/// The assertions about some fields of a structure. A Rust name may differ from the C name.
macro_rules! structure {
    ($text:ident, $type:ident, $($field:ident$( = $c:literal)?),* $(,)?) => {
        let name = stringify!($type);
        let align = align_of::<$type>();
        check(&mut $text, &format!("_Alignof({name}) == {align}"));
        $(
            let c = [$($c,)? stringify!($field)][0].trim_start_matches("r#");
            let offset = offset_of!($type, $field);
            check(&mut $text, &format!("__builtin_offsetof({name}, {c}) == {offset}"));
        )*
    };
}

/// The assertions about the size of structures that Rust declares whole.
macro_rules! sizes {
    ($text:ident, $($type:ident),* $(,)?) => {
        $(check(&mut $text, &format!("sizeof({}) == {}", stringify!($type), size_of::<$type>()));)*
    };
}

macro_rules! constants {
    ($text:ident, $($name:ident),* $(,)?) => {
        $(check(&mut $text, &format!("{} == ({})", stringify!($name), $name));)*
    };
}

fn check(text: &mut String, condition: &str) {
    writeln!(text, "_Static_assert({condition}, \"\");").unwrap();
}

/// Everything that Rust says about 64-bit Windows. Types without `long` look the same on every 64-bit host.
fn assertions() -> String {
    let mut text = String::new();
    sizes!(text, GUID, FWP_VALUE0, FWPM_ACTION0, FWPM_FILTER0, FWPS_INCOMING_VALUE0, FWPS_INCOMING_VALUES0);
    sizes!(text, FWPS_DISCARD_METADATA0, FWPS_INBOUND_FRAGMENT_METADATA0, FWPS_ACTION0, FWPS_FILTER2);
    sizes!(text, FWPS_CLASSIFY_OUT0, FWPS_CALLOUT2, FWPS_CALLOUT_NOTIFY_TYPE, MDL, NET_BUFFER);
    structure!(text, FWPM_ACTION0, r#type, Anonymous = "calloutKey");
    structure!(text, FWPM_FILTER0, filterKey, flags, layerKey, subLayerKey, weight, numFilterConditions, action);
    structure!(text, FWPM_FILTER0, filterCondition, Anonymous = "rawContext", filterId, effectiveWeight);
    structure!(text, FWPS_INCOMING_VALUES0, layerId, valueCount, incomingValue);
    structure!(text, FWPS_DISCARD_METADATA0, discardModule, discardReason, filterId);
    structure!(text, FWPS_INBOUND_FRAGMENT_METADATA0, fragmentIdentification, fragmentOffset, fragmentLength);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, currentMetadataValues, flags, reserved, discardMetadata);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, flowHandle, ipHeaderSize, transportHeaderSize, processPath);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, token, processId, sourceInterfaceIndex, compartmentId);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, destinationInterfaceIndex, fragmentMetadata, pathMtu);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, completionHandle, transportEndpointHandle, remoteScopeId);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, controlData, controlDataLength, packetDirection);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, headerIncludeHeader, headerIncludeHeaderLength);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, destinationPrefix, frameLength, parentEndpointHandle);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, icmpIdAndSequence, localRedirectTargetPID);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, originalDestination, redirectRecords, currentL2MetadataValues);
    structure!(text, FWPS_INCOMING_METADATA_VALUES0, l2Flags, ethernetMacHeaderSize, wiFiOperationMode);
    structure!(text, FWPS_ACTION0, r#type, calloutId);
    structure!(text, FWPS_FILTER2, filterId, weight, subLayerWeight, flags, numFilterConditions, filterCondition);
    structure!(text, FWPS_FILTER2, action, context, providerContext);
    structure!(text, FWPS_CLASSIFY_OUT0, actionType, outContext, filterId, rights, flags, reserved);
    structure!(text, FWPS_CALLOUT2, calloutKey, flags, classifyFn, notifyFn, flowDeleteFn);
    structure!(text, MDL, Next, Size, MdlFlags, Process, MappedSystemVa, StartVa, ByteCount, ByteOffset);
    structure!(text, NET_BUFFER, Next, CurrentMdl, CurrentMdlOffset, DataLength, MdlChain, DataOffset, ChecksumBias);
    structure!(text, NET_BUFFER, Reserved, NdisPoolHandle, NdisReserved, ProtocolReserved, MiniportReserved);
    structure!(text, NET_BUFFER, DataPhysicalAddress, SharedMemoryInfo);
    structure!(text, NET_BUFFER_LIST, Next, FirstNetBuffer, Context, ParentNetBufferList, NdisPoolHandle);
    structure!(text, NET_BUFFER_LIST, NdisReserved, ProtocolReserved, MiniportReserved, Scratch, SourceHandle);
    structure!(text, NET_BUFFER_LIST, NblFlags, ChildRefCount, Flags, Status);
    let end = size_of::<NET_BUFFER_LIST>();
    check(&mut text, &format!("__builtin_offsetof(NET_BUFFER_LIST, NetBufferListInfo) == {end}"));
    constants!(
        text,
        FWPS_CALLOUT_NOTIFY_ADD_FILTER,
        FWPS_CALLOUT_NOTIFY_DELETE_FILTER,
        FWPS_CALLOUT_NOTIFY_ADD_FILTER_POST_COMMIT,
        FWPS_RIGHT_ACTION_WRITE,
        FWPS_CLASSIFY_OUT_FLAG_ABSORB,
        FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT,
        FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED,
        FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED,
        FWPS_METADATA_FIELD_IP_HEADER_SIZE,
        FWPS_METADATA_FIELD_TRANSPORT_HEADER_SIZE,
        FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE,
        FWP_ACTION_BLOCK,
        FWP_ACTION_PERMIT,
        FWP_ACTION_CONTINUE,
        FWP_ACTION_NONE,
        FWP_ACTION_NONE_NO_MATCH,
        MDL_MAPPED_TO_SYSTEM_VA,
        MDL_SOURCE_IS_NONPAGED_POOL,
        FWPS_FIELD_INBOUND_IPPACKET_V4_IP_LOCAL_ADDRESS,
        FWPS_FIELD_INBOUND_IPPACKET_V4_IP_REMOTE_ADDRESS,
        FWPS_FIELD_INBOUND_IPPACKET_V4_IP_LOCAL_ADDRESS_TYPE,
        FWPS_FIELD_INBOUND_IPPACKET_V4_IP_LOCAL_INTERFACE,
        FWPS_FIELD_INBOUND_IPPACKET_V4_INTERFACE_INDEX,
        FWPS_FIELD_INBOUND_IPPACKET_V4_SUB_INTERFACE_INDEX,
        FWPS_FIELD_INBOUND_IPPACKET_V4_FLAGS,
        FWPS_FIELD_INBOUND_IPPACKET_V4_INTERFACE_TYPE,
        FWPS_FIELD_INBOUND_IPPACKET_V4_TUNNEL_TYPE,
        FWPS_FIELD_INBOUND_IPPACKET_V4_COMPARTMENT_ID,
        FWPS_FIELD_INBOUND_IPPACKET_V6_IP_LOCAL_ADDRESS,
        FWPS_FIELD_INBOUND_IPPACKET_V6_IP_REMOTE_ADDRESS,
        FWPS_FIELD_INBOUND_IPPACKET_V6_IP_LOCAL_ADDRESS_TYPE,
        FWPS_FIELD_INBOUND_IPPACKET_V6_IP_LOCAL_INTERFACE,
        FWPS_FIELD_INBOUND_IPPACKET_V6_INTERFACE_INDEX,
        FWPS_FIELD_INBOUND_IPPACKET_V6_SUB_INTERFACE_INDEX,
        FWPS_FIELD_INBOUND_IPPACKET_V6_FLAGS,
        FWPS_FIELD_INBOUND_IPPACKET_V6_INTERFACE_TYPE,
        FWPS_FIELD_INBOUND_IPPACKET_V6_TUNNEL_TYPE,
        FWPS_FIELD_INBOUND_IPPACKET_V6_COMPARTMENT_ID,
        FWPS_FIELD_OUTBOUND_IPPACKET_V4_IP_LOCAL_ADDRESS,
        FWPS_FIELD_OUTBOUND_IPPACKET_V4_IP_LOCAL_ADDRESS_TYPE,
        FWPS_FIELD_OUTBOUND_IPPACKET_V4_IP_REMOTE_ADDRESS,
        FWPS_FIELD_OUTBOUND_IPPACKET_V4_IP_LOCAL_INTERFACE,
        FWPS_FIELD_OUTBOUND_IPPACKET_V4_INTERFACE_INDEX,
        FWPS_FIELD_OUTBOUND_IPPACKET_V4_SUB_INTERFACE_INDEX,
        FWPS_FIELD_OUTBOUND_IPPACKET_V4_FLAGS,
        FWPS_FIELD_OUTBOUND_IPPACKET_V4_INTERFACE_TYPE,
        FWPS_FIELD_OUTBOUND_IPPACKET_V4_TUNNEL_TYPE,
        FWPS_FIELD_OUTBOUND_IPPACKET_V4_COMPARTMENT_ID,
        FWPS_FIELD_OUTBOUND_IPPACKET_V6_IP_LOCAL_ADDRESS,
        FWPS_FIELD_OUTBOUND_IPPACKET_V6_IP_LOCAL_ADDRESS_TYPE,
        FWPS_FIELD_OUTBOUND_IPPACKET_V6_IP_REMOTE_ADDRESS,
        FWPS_FIELD_OUTBOUND_IPPACKET_V6_IP_LOCAL_INTERFACE,
        FWPS_FIELD_OUTBOUND_IPPACKET_V6_INTERFACE_INDEX,
        FWPS_FIELD_OUTBOUND_IPPACKET_V6_SUB_INTERFACE_INDEX,
        FWPS_FIELD_OUTBOUND_IPPACKET_V6_FLAGS,
        FWPS_FIELD_OUTBOUND_IPPACKET_V6_INTERFACE_TYPE,
        FWPS_FIELD_OUTBOUND_IPPACKET_V6_TUNNEL_TYPE,
        FWPS_FIELD_OUTBOUND_IPPACKET_V6_COMPARTMENT_ID,
        FWPS_FIELD_IPFORWARD_V4_IP_SOURCE_ADDRESS,
        FWPS_FIELD_IPFORWARD_V4_IP_DESTINATION_ADDRESS,
        FWPS_FIELD_IPFORWARD_V4_IP_DESTINATION_ADDRESS_TYPE,
        FWPS_FIELD_IPFORWARD_V4_IP_LOCAL_INTERFACE,
        FWPS_FIELD_IPFORWARD_V4_IP_FORWARD_INTERFACE,
        FWPS_FIELD_IPFORWARD_V4_SOURCE_INTERFACE_INDEX,
        FWPS_FIELD_IPFORWARD_V4_SOURCE_SUB_INTERFACE_INDEX,
        FWPS_FIELD_IPFORWARD_V4_DESTINATION_INTERFACE_INDEX,
        FWPS_FIELD_IPFORWARD_V4_DESTINATION_SUB_INTERFACE_INDEX,
        FWPS_FIELD_IPFORWARD_V4_FLAGS,
        FWPS_FIELD_IPFORWARD_V4_IP_PHYSICAL_ARRIVAL_INTERFACE,
        FWPS_FIELD_IPFORWARD_V4_ARRIVAL_INTERFACE_PROFILE_ID,
        FWPS_FIELD_IPFORWARD_V4_IP_PHYSICAL_NEXTHOP_INTERFACE,
        FWPS_FIELD_IPFORWARD_V4_NEXTHOP_INTERFACE_PROFILE_ID,
        FWPS_FIELD_IPFORWARD_V4_COMPARTMENT_ID,
        FWPS_FIELD_IPFORWARD_V6_IP_SOURCE_ADDRESS,
        FWPS_FIELD_IPFORWARD_V6_IP_DESTINATION_ADDRESS,
        FWPS_FIELD_IPFORWARD_V6_IP_DESTINATION_ADDRESS_TYPE,
        FWPS_FIELD_IPFORWARD_V6_IP_LOCAL_INTERFACE,
        FWPS_FIELD_IPFORWARD_V6_IP_FORWARD_INTERFACE,
        FWPS_FIELD_IPFORWARD_V6_SOURCE_INTERFACE_INDEX,
        FWPS_FIELD_IPFORWARD_V6_SOURCE_SUB_INTERFACE_INDEX,
        FWPS_FIELD_IPFORWARD_V6_DESTINATION_INTERFACE_INDEX,
        FWPS_FIELD_IPFORWARD_V6_DESTINATION_SUB_INTERFACE_INDEX,
        FWPS_FIELD_IPFORWARD_V6_FLAGS,
        FWPS_FIELD_IPFORWARD_V6_IP_PHYSICAL_ARRIVAL_INTERFACE,
        FWPS_FIELD_IPFORWARD_V6_ARRIVAL_INTERFACE_PROFILE_ID,
        FWPS_FIELD_IPFORWARD_V6_IP_PHYSICAL_NEXTHOP_INTERFACE,
        FWPS_FIELD_IPFORWARD_V6_NEXTHOP_INTERFACE_PROFILE_ID,
        FWPS_FIELD_IPFORWARD_V6_COMPARTMENT_ID,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_INTERFACE_MAC_ADDRESS,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_MAC_LOCAL_ADDRESS,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_MAC_REMOTE_ADDRESS,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_MAC_LOCAL_ADDRESS_TYPE,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_MAC_REMOTE_ADDRESS_TYPE,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_ETHER_TYPE,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_VLAN_ID,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_INTERFACE,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_INTERFACE_INDEX,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_NDIS_PORT,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_L2_FLAGS,
        FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_COMPARTMENT_ID,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_INTERFACE_MAC_ADDRESS,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_MAC_LOCAL_ADDRESS,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_MAC_REMOTE_ADDRESS,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_MAC_LOCAL_ADDRESS_TYPE,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_MAC_REMOTE_ADDRESS_TYPE,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_ETHER_TYPE,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_VLAN_ID,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_INTERFACE,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_INTERFACE_INDEX,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_NDIS_PORT,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_L2_FLAGS,
        FWPS_FIELD_OUTBOUND_MAC_FRAME_ETHERNET_COMPARTMENT_ID,
    );
    text
}

fn clang() -> Option<PathBuf> {
    let names = [env::var("CLANG").ok(), Some("clang".into()), Some("clang-14".into())];
    let works =
        |name: &String| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    names.into_iter().flatten().find(works).map(PathBuf::from)
}

/// Compiles `source` and the assertions for both targets.
fn compile(clang: &Path, name: &str, source: &str, options: &[String]) -> Result<(), String> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.c"));
    fs::write(&file, format!("{source}\n{}", assertions())).unwrap();
    for target in ["x86_64-pc-windows-msvc", "aarch64-pc-windows-msvc"] {
        let mut command = Command::new(clang);
        command.args(["-fsyntax-only", "-std=c11", "-Werror=all", "-Wno-microsoft-anon-tag"]);
        command.args(["-Wno-unknown-warning-option", "-Wno-ignored-attributes"]);
        command.arg(format!("--target={target}")).args(options).arg(&file);
        let output = command.output().unwrap();
        if !output.status.success() {
            return Err(format!("{target}:\n{}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    Ok(())
}

#[test]
fn every_structure_and_constant_is_as_c_declares_it() {
    let Some(clang) = clang() else { return eprintln!("not compared with C: there is no clang") };
    let header = include_str!("c/wfp.h");
    compile(&clang, "own", header, &[]).unwrap_or_else(|error| panic!("{error}"));
    // What the comparison is worth: other declarations do not pass.
    for (from, to) in [
        // A driver had it laid out as one union: a filter then names a callout whose key begins with the action.
        ("FWP_ACTION_TYPE type; union { GUID filterType", "union { FWP_ACTION_TYPE type; GUID filterType"),
        ("UINT16 subLayerWeight, flags;", "UINT32 subLayerWeight, flags;"),
        (
            "POOL_ALIGNED PVOID NdisReserved[2];\n  PVOID ProtocolReserved[4]",
            "PVOID NdisReserved[2], ProtocolReserved[4]",
        ),
        ("FWPS_FIELD_IPFORWARD_V4_FLAGS,", "FWPS_FIELD_IPFORWARD_V4_OTHER, FWPS_FIELD_IPFORWARD_V4_FLAGS,"),
        ("FWPS_INBOUND_FRAGMENT_METADATA0 fragmentMetadata;", "UINT64 fragmentMetadata[2];"),
    ] {
        assert!(header.contains(from), "{from}");
        compile(&clang, "changed", &header.replace(from, to), &[]).expect_err(to);
    }
}

/// In a WDK prompt, where `WDKContentRoot` and `Version_Number` say where the headers are.
#[test]
fn every_structure_and_constant_is_as_the_wdk_declares_it() {
    let root = env::var("WDKContentRoot").ok().zip(env::var("Version_Number").ok());
    let Some((root, version)) = root else { return eprintln!("not compared with the WDK: there is none") };
    let include = Path::new(&root).join("Include").join(version);
    if !include.join("km/fwpsk.h").is_file() {
        return eprintln!("not compared with the WDK: {} has no km/fwpsk.h", include.display());
    }
    let Some(clang) = clang() else { return eprintln!("not compared with the WDK: there is no clang") };
    let mut options: Vec<_> =
        ["km", "shared", "km/crt", "um"].map(|folder| format!("-isystem{}", include.join(folder).display())).into();
    options.extend(["-fms-extensions".into(), "-w".into()]);
    let source = [
        "#if defined(_M_X64)",
        "#define _AMD64_",
        "#else",
        "#define _ARM64_",
        "#endif",
        "#define NDIS_SUPPORT_NDIS6 1",
        "#define NDIS630 1",
        "#define NTDDI_VERSION 0x0A000007",
        "#include <ntddk.h>",
        "#include <ndis.h>",
        "#include <fwpsk.h>",
        "#include <fwpmk.h>",
    ];
    compile(&clang, "wdk", &source.join("\n"), &options).unwrap_or_else(|error| panic!("{error}"));
}

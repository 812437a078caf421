//! `include/sluice_npi.h` says the same as the Rust declarations: every structure, field, type, offset, size, alignment
//! and constant, for both 64-bit targets of Windows, and nothing is on one side alone.
//!
//! Rust's view is written as static assertions that clang checks; clang's view of the header (its record layouts and
//! its macros) is compared by name. Without clang these tests do nothing but say so.

use std::collections::BTreeSet;
use std::ffi::{OsStr, c_void};
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use sluice_npi::{
    ClientCharacteristics, ClientDispatch, Flow, Header, Packet, ProviderCharacteristics, ProviderDispatch, Statistics,
    Verdict, action, direction, flags, link_type, name_kind,
};

/// The layout of `repr(C)` types without `long` is the same for both, so the host's Rust speaks for both.
const TARGETS: [&str; 2] = ["x86_64-pc-windows-msvc", "aarch64-pc-windows-msvc"];

/// All warnings, except for those about what the header does on purpose: the names that Windows headers use, padding
/// after a header, and language that is newer than C++98 or C11 (or older than C23).
const WARNINGS: [&str; 11] = [
    "-Weverything",
    "-Werror",
    "-Wno-reserved-identifier",
    "-Wno-reserved-macro-identifier",
    "-Wno-padded",
    "-Wno-pre-c11-compat",
    "-Wno-pre-c2x-compat",
    "-Wno-c++98-compat",
    "-Wno-c++98-compat-pedantic",
    // Those that headers of the system write out.
    "-Wno-#warnings",
    "-Wno-unknown-warning-option",
];

/// How a Rust type is written in C.
trait CType {
    fn name() -> String;
}

macro_rules! c_types {
    ($($rust:ty = $c:literal),* $(,)?) => {
        $(impl CType for $rust { fn name() -> String { $c.to_owned() } })*
    };
}

c_types! {
    () = "void",
    c_void = "void",
    u8 = "UINT8",
    u16 = "UINT16",
    u32 = "UINT32",
    u64 = "UINT64",
    i32 = "NTSTATUS",
    Header = "SLUICE_HEADER",
    Packet = "SLUICE_PACKET",
    Flow = "SLUICE_FLOW",
    Verdict = "SLUICE_VERDICT",
    Statistics = "SLUICE_STATISTICS",
}

impl<T: CType> CType for *const T {
    fn name() -> String {
        format!("const {} *", T::name())
    }
}

impl<T: CType> CType for *mut T {
    fn name() -> String {
        format!("{} *", T::name())
    }
}

impl<T: CType, const N: usize> CType for [T; N] {
    fn name() -> String {
        format!("{}[{N}]", T::name())
    }
}

impl<A: CType, B: CType, R: CType> CType for unsafe extern "system" fn(A, B) -> R {
    fn name() -> String {
        format!("{} (*)({}, {})", R::name(), A::name(), B::name())
    }
}

impl<A: CType, B: CType, C: CType, D: CType, R: CType> CType for unsafe extern "system" fn(A, B, C, D) -> R {
    fn name() -> String {
        format!("{} (*)({}, {}, {}, {})", R::name(), A::name(), B::name(), C::name(), D::name())
    }
}

/// A structure as Rust sees it, in the words of C.
struct Record {
    name: &'static str,
    rust_name: &'static str,
    size: usize,
    align: usize,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    offset: usize,
    ctype: String,
}

fn ctype_of<S, T: CType>(_: fn(&S) -> &T) -> String {
    T::name()
}

/// `source_port` is `SourcePort` in C.
fn pascal_case(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// A [`Record`]; does not compile unless all fields are named.
macro_rules! record {
    ($rust:ident = $c:literal { $($field:ident),* $(,)? }) => {{
        let _all_fields_are_named = |value: &$rust| { let $rust { $($field: _),* } = value; };
        Record {
            name: $c,
            rust_name: stringify!($rust),
            size: size_of::<$rust>(),
            align: align_of::<$rust>(),
            fields: vec![$(Field {
                name: pascal_case(stringify!($field)),
                offset: offset_of!($rust, $field),
                ctype: ctype_of(|value: &$rust| &value.$field),
            }),*],
        }
    }};
}

fn records() -> Vec<Record> {
    vec![
        record!(Header = "SLUICE_HEADER" { version, size }),
        record!(Packet = "SLUICE_PACKET" { header, link_type, direction, captured_length, wire_length, data }),
        record!(Flow = "SLUICE_FLOW" {
            flags,
            ip_version,
            protocol,
            icmp_type,
            icmp_code,
            tcp_flags,
            vlan_count,
            ether_type,
            source_port,
            destination_port,
            network_offset,
            transport_offset,
            payload_offset,
            payload_length,
            source_address,
            destination_address,
            vlan_ids,
            dns_type,
            name_kind,
            reserved,
            name_length,
            name_offset,
            quic_version,
        }),
        record!(Verdict = "SLUICE_VERDICT" { header, action, reserved, rule_id, generation, flow }),
        record!(Statistics = "SLUICE_STATISTICS" {
            header,
            reserved,
            packets,
            permitted,
            blocked,
            malformed,
            truncated,
            rejected_calls,
        }),
        record!(ProviderDispatch = "SLUICE_PROVIDER_DISPATCH" { header, classify, query_statistics }),
        record!(ClientDispatch = "SLUICE_CLIENT_DISPATCH" { header, policy_changed }),
        record!(ProviderCharacteristics = "SLUICE_PROVIDER_CHARACTERISTICS" { header, max_batch }),
        record!(ClientCharacteristics = "SLUICE_CLIENT_CHARACTERISTICS" { header, driver_version, name }),
    ]
}

/// A constant as Rust sees it: its path in the crate, its name in C, its value.
struct Constant {
    rust_path: &'static str,
    name: &'static str,
    value: u64,
}

macro_rules! constants {
    ($($c:ident = $($rust:ident)::+),* $(,)?) => {
        vec![$(Constant {
            rust_path: concat!($("::", stringify!($rust)),+),
            name: stringify!($c),
            value: u64::from($($rust)::+),
        }),*]
    };
}

fn constants() -> Vec<Constant> {
    use sluice_npi::{MAX_BATCH, VERSION};
    const MAX_VLANS: u32 = sluice_npi::MAX_VLANS as u32;
    constants! {
        SLUICE_NPI_VERSION = VERSION,
        SLUICE_MAX_BATCH = MAX_BATCH,
        SLUICE_MAX_VLANS = MAX_VLANS,
        SLUICE_LINK_TYPE_NULL = link_type::NULL,
        SLUICE_LINK_TYPE_ETHERNET = link_type::ETHERNET,
        SLUICE_LINK_TYPE_PPP = link_type::PPP,
        SLUICE_LINK_TYPE_PPP_HDLC = link_type::PPP_HDLC,
        SLUICE_LINK_TYPE_RAW = link_type::RAW,
        SLUICE_LINK_TYPE_LOOP = link_type::LOOP,
        SLUICE_LINK_TYPE_LINUX_SLL = link_type::LINUX_SLL,
        SLUICE_LINK_TYPE_IEEE802_11_RADIOTAP = link_type::IEEE802_11_RADIOTAP,
        SLUICE_LINK_TYPE_IPV4 = link_type::IPV4,
        SLUICE_LINK_TYPE_IPV6 = link_type::IPV6,
        SLUICE_LINK_TYPE_LINUX_SLL2 = link_type::LINUX_SLL2,
        SLUICE_DIRECTION_UNSPECIFIED = direction::UNSPECIFIED,
        SLUICE_DIRECTION_INBOUND = direction::INBOUND,
        SLUICE_DIRECTION_OUTBOUND = direction::OUTBOUND,
        SLUICE_DIRECTION_HEAD = direction::HEAD,
        SLUICE_ACTION_PERMIT = action::PERMIT,
        SLUICE_ACTION_BLOCK = action::BLOCK,
        SLUICE_FLOW_ADDRESSES = flags::ADDRESSES,
        SLUICE_FLOW_PROTOCOL = flags::PROTOCOL,
        SLUICE_FLOW_PORTS = flags::PORTS,
        SLUICE_FLOW_ICMP = flags::ICMP,
        SLUICE_FLOW_TCP_FLAGS = flags::TCP_FLAGS,
        SLUICE_FLOW_FRAGMENT = flags::FRAGMENT,
        SLUICE_FLOW_LATER_FRAGMENT = flags::LATER_FRAGMENT,
        SLUICE_FLOW_TRUNCATED = flags::TRUNCATED,
        SLUICE_FLOW_MALFORMED = flags::MALFORMED,
        SLUICE_FLOW_MACSEC = flags::MACSEC,
        SLUICE_FLOW_MPLS = flags::MPLS,
        SLUICE_FLOW_QUIC = flags::QUIC,
        SLUICE_FLOW_DNS = flags::DNS,
        SLUICE_FLOW_ETHER_TYPE = flags::ETHER_TYPE,
        SLUICE_FLOW_NAME_MISSING = flags::NAME_MISSING,
        SLUICE_FLOW_NAME_PENDING = flags::NAME_PENDING,
        SLUICE_FLOW_INNER = flags::INNER,
        SLUICE_FLOW_TUNNEL = flags::TUNNEL,
        SLUICE_FLOW_TUNNEL_UNREAD = flags::TUNNEL_UNREAD,
        SLUICE_FLOW_ANSWER = flags::ANSWER,
        SLUICE_FLOW_ANSWER_UNREAD = flags::ANSWER_UNREAD,
        SLUICE_FLOW_UNDECIDED = flags::UNDECIDED,
        SLUICE_FLOW_ECH = flags::ECH,
        SLUICE_FLOW_NAME_ASSEMBLED = flags::NAME_ASSEMBLED,
        SLUICE_NAME_KIND_NONE = name_kind::NONE,
        SLUICE_NAME_KIND_DNS = name_kind::DNS,
        SLUICE_NAME_KIND_TLS = name_kind::TLS,
        SLUICE_NAME_KIND_HTTP = name_kind::HTTP,
    }
}

/// The macros of the header that are no constants, and the name of a length that Rust's array type states by itself.
const OTHER_MACROS: [&str; 3] = ["SLUICE_NPI_H", "SLUICE_HEADER_OF", "SLUICE_NAME_LENGTH"];

/// Two sets of names are the same; if not, which names are on one side alone.
fn assert_same(what: &str, header: &BTreeSet<String>, rust: &BTreeSet<String>) {
    let header_alone: Vec<_> = header.difference(rust).collect();
    let rust_alone: Vec<_> = rust.difference(header).collect();
    assert!(
        header_alone.is_empty() && rust_alone.is_empty(),
        "{what}: in the header alone {header_alone:?}, in Rust alone {rust_alone:?}"
    );
}

/// clang with the header's folder on its include path and nothing else; `None` where there is no clang.
struct Clang(PathBuf);

impl Clang {
    fn find() -> Option<Self> {
        let named = env::var_os("CLANG").map(PathBuf::from);
        let versions = (14..=22).rev().map(|version| PathBuf::from(format!("clang-{version}")));
        let found = named.into_iter().chain([PathBuf::from("clang")]).chain(versions).find(|program| {
            Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
        });
        if found.is_none() {
            eprintln!("skipped: no clang (set CLANG to its path)");
        }
        found.map(Self)
    }

    /// What clang prints for `source`, which must compile.
    fn run(&self, source: &str, extension: &str, arguments: &[impl AsRef<OsStr>]) -> String {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let file = folder.join(format!("{:?}.{extension}", std::thread::current().id()));
        fs::write(&file, source).expect("cargo made the folder");
        let output = Command::new(&self.0)
            .args(["-ffreestanding", "-I", concat!(env!("CARGO_MANIFEST_DIR"), "/include")])
            .args(arguments)
            .arg(&file)
            .output()
            .expect("clang ran before");
        assert!(
            output.status.success(),
            "clang refuses {}:\n{source}\n{}",
            file.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("clang prints ASCII")
    }
}

fn target(name: &str) -> String {
    format!("--target={name}")
}

#[test]
fn rust_layout_and_constants_hold_in_c() {
    let Some(clang) = Clang::find() else { return };
    let mut source = String::from("#include \"sluice_npi.h\"\n");
    for Record { name, size, align, fields, .. } in records() {
        writeln!(source, "_Static_assert(sizeof({name}) == {size}, \"{name}: {size} bytes\");").unwrap();
        writeln!(source, "_Static_assert(_Alignof({name}) == {align}, \"{name}: aligned to {align}\");").unwrap();
        for Field { name: field, offset, ctype } in fields {
            writeln!(source, "_Static_assert(offsetof({name}, {field}) == {offset}, \"{name}.{field}: at {offset}\");")
                .unwrap();
            writeln!(
                source,
                "_Static_assert(__builtin_types_compatible_p(__typeof__((({name} *)0)->{field}), {ctype}), \
                 \"{name}.{field}: {ctype}\");"
            )
            .unwrap();
        }
    }
    for Constant { name, value, .. } in constants() {
        writeln!(source, "_Static_assert({name} == {value}, \"{name}: {value}\");").unwrap();
    }
    for name in TARGETS {
        clang.run(&source, "c", &["-fsyntax-only", &target(name)]);
    }
}

#[test]
fn no_field_is_in_the_header_alone() {
    let Some(clang) = Clang::find() else { return };
    let rust: BTreeSet<String> = records()
        .iter()
        .flat_map(|record| record.fields.iter().map(move |field| format!("{}.{}", record.name, field.name)))
        .collect();
    for name in TARGETS {
        let dump = clang.run(
            "#include \"sluice_npi.h\"\n",
            "c",
            &["-fsyntax-only", &target(name), "-Xclang", "-fdump-record-layouts-complete"],
        );
        assert_same(name, &fields_of_dump(&dump), &rust);
    }
}

/// `SLUICE_PACKET.Header` and so on, of clang's `offset |   type name` lines. The members of members are indented more.
fn fields_of_dump(dump: &str) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let mut record = None;
    for line in dump.lines() {
        let Some((_, text)) = line.split_once(" | ") else { continue };
        if let Some(name) = text.strip_prefix("struct _") {
            record = name.starts_with("SLUICE_").then(|| name.to_owned());
        } else if let (Some(record), Some(member)) = (&record, text.strip_prefix("  "))
            && !member.starts_with(' ')
        {
            let name = member.rsplit(' ').next().expect("a split has a part");
            fields.insert(format!("{record}.{name}"));
        }
    }
    fields
}

#[test]
fn no_constant_is_in_the_header_alone() {
    let Some(clang) = Clang::find() else { return };
    let macros = clang.run("#include \"sluice_npi.h\"\n", "c", &["-E", "-dM", &target(TARGETS[0])]);
    let header = macros
        .lines()
        .filter_map(|line| line.strip_prefix("#define "))
        .filter_map(|line| line.split([' ', '(']).next())
        .filter(|name| name.starts_with("SLUICE_") && !OTHER_MACROS.contains(name))
        .map(str::to_owned)
        .collect();
    assert_same("constants", &header, &constants().iter().map(|constant| constant.name.to_owned()).collect());
}

/// `{0x0b8f760a, 0x70af, 0x4860, {0xba, ...}}` of the header, whose own comment has it as text.
#[test]
fn the_identifier_is_the_one_of_version_1() {
    let header = include_str!("../include/sluice_npi.h");
    let (_, initializer) = header.split_once("GUID SLUICE_NPI_ID = ").expect("the header defines the identifier");
    let (initializer, _) = initializer.split_once(';').expect("a definition ends");
    let digits: String = initializer.split([',', '{', '}']).filter_map(|part| part.trim().strip_prefix("0x")).collect();
    assert_eq!(digits, "0b8f760a70af4860ba3ede22a76fc2ee");
    assert!(header.contains("{0B8F760A-70AF-4860-BA3E-DE22A76FC2EE}"));
    #[cfg(feature = "nmr")]
    {
        let id = sluice_npi::NPI_ID;
        let last: String = id.Data4.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, format!("{:08x}{:04x}{:04x}{last}", id.Data1, id.Data2, id.Data3));
    }
}

/// The tables above have to name all that the crate declares; the compiler sees to the fields, this to the rest.
#[test]
fn no_declaration_is_in_rust_alone() {
    let mut constants_declared = BTreeSet::new();
    let mut records_declared = BTreeSet::new();
    for source in [include_str!("../src/lib.rs"), include_str!("../src/flow.rs"), include_str!("../src/dispatch.rs")] {
        let mut module = String::new();
        for line in source.lines() {
            if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(" {")) {
                module = format!("::{name}");
            } else if line == "}" {
                module.clear();
            } else if let Some(constant) = line.trim_start().strip_prefix("pub const ")
                && let Some((name, of)) = constant.split_once(": ")
                // A list of the others declares nothing new.
                && !of.starts_with('[')
                && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
                // What people call the link types, which C has no use for.
                && name != "NAMES"
            {
                constants_declared.insert(format!("{module}::{name}"));
            } else if let Some(name) = line.strip_prefix("pub struct ") {
                records_declared.insert(name.trim_end_matches(" {").to_owned());
            }
        }
    }
    let constants = constants().iter().map(|constant| constant.rust_path.to_owned()).collect();
    let records = records().iter().map(|record| record.rust_name.to_owned()).collect();
    assert_eq!(constants_declared, constants, "left: the crate's source, right: this test");
    assert_eq!(records_declared, records, "left: the crate's source, right: this test");
}

#[test]
fn the_header_compiles_without_a_warning_in_c_and_cpp() {
    let Some(clang) = Clang::find() else { return };
    // What a client writes: tables that are initialized from the header's macros, and a call through the table.
    let client = r#"
#include "sluice_npi.h"

#define STATUS_INVALID_PARAMETER ((NTSTATUS)0xC000000D)

static SLUICE_POLICY_CHANGED PolicyChanged;
static void NTAPI PolicyChanged(void *Context, UINT64 Generation) { *(UINT64 *)Context = Generation; }

extern const SLUICE_CLIENT_DISPATCH ClientDispatch;
const SLUICE_CLIENT_DISPATCH ClientDispatch = {SLUICE_HEADER_OF(SLUICE_CLIENT_DISPATCH), PolicyChanged};

extern const GUID *const NpiId;
const GUID *const NpiId = &SLUICE_NPI_ID;

NTSTATUS Ask(const SLUICE_PROVIDER_DISPATCH *Provider, void *Context, const UINT8 *Data, UINT32 Length, UINT16 *Action);
NTSTATUS Ask(const SLUICE_PROVIDER_DISPATCH *Provider, void *Context, const UINT8 *Data, UINT32 Length, UINT16 *Action)
{
    SLUICE_PACKET packet = {
        SLUICE_HEADER_OF(SLUICE_PACKET), SLUICE_LINK_TYPE_ETHERNET, SLUICE_DIRECTION_INBOUND, 0, 0, NULL};
    SLUICE_VERDICT verdict;
    NTSTATUS status;
    packet.CapturedLength = Length;
    packet.WireLength = Length;
    packet.Data = Data;
    status = Provider->Classify(Context, &packet, 1, &verdict);
    if (status != 0) {
        return status;
    }
    if ((verdict.Flow.Flags & SLUICE_FLOW_MALFORMED) != 0) {
        return STATUS_INVALID_PARAMETER;
    }
    *Action = verdict.Action;
    return 0;
}
"#;
    let c = client.to_owned();
    let cpp = client
        .replace("*(UINT64 *)Context", "*static_cast<UINT64 *>(Context)")
        .replace("NULL", "nullptr")
        .replace("((NTSTATUS)0xC000000D)", "(static_cast<NTSTATUS>(0xC000000D))");
    for name in TARGETS {
        for compatibility in ["-fms-compatibility", "-fno-ms-compatibility"] {
            for (source, extension, standards) in
                [(&c, "c", ["-std=c11", "-std=c17"]), (&cpp, "cpp", ["-std=c++14", "-std=c++17"])]
            {
                for standard in standards {
                    let mut arguments = vec!["-fsyntax-only", compatibility, standard];
                    arguments.extend(WARNINGS);
                    let target = target(name);
                    arguments.push(&target);
                    clang.run(source, extension, &arguments);
                }
            }
        }
    }
}

#[test]
fn the_header_fits_the_kernel_headers_before_it() {
    let Some(clang) = Clang::find() else { return };
    let mingw = PathBuf::from(env::var_os("MINGW_INCLUDE").unwrap_or_else(|| "/usr/share/mingw-w64/include".into()));
    if !mingw.join("ddk/ntddk.h").exists() {
        eprintln!("skipped: no kernel headers (set MINGW_INCLUDE to the folder that has ddk/ntddk.h)");
        return;
    }
    let mut arguments: Vec<&OsStr> = WARNINGS.iter().map(OsStr::new).collect();
    let ddk = mingw.join("ddk");
    let resources = Command::new(&clang.0).arg("-print-resource-dir").output().expect("clang ran before").stdout;
    let resources = PathBuf::from(String::from_utf8(resources).expect("a path of ASCII").trim()).join("include");
    // Clang's headers for Intel AMX declare an aligned type, which the packing that the kernel headers set does not
    // allow. Empty ones are found before them.
    let emptied = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("amx");
    fs::create_dir_all(&emptied).expect("cargo made the folder above");
    for header in fs::read_dir(&resources).expect("clang has headers") {
        let name = header.expect("a header").file_name();
        if name.to_string_lossy().starts_with("amx") {
            fs::write(emptied.join(name), "").expect("the folder is there");
        }
    }
    for argument in ["-fsyntax-only", "--target=x86_64-w64-windows-gnu"] {
        arguments.push(argument.as_ref());
    }
    for folder in [&emptied, &resources, &mingw, &ddk] {
        arguments.extend([OsStr::new("-isystem"), folder.as_os_str()]);
    }
    for kernel_header in ["wdm.h", "ntddk.h"] {
        clang.run(&format!("#include <{kernel_header}>\n#include \"sluice_npi.h\"\n"), "c", &arguments);
    }
}

//! The Rust declarations say the same as C: every size, alignment, offset, constant and signature, for both 64-bit
//! targets of Windows.
//!
//! What Rust says is written as static assertions, which clang checks against the `netioddk.h` of nmr-registrar, and on
//! Windows with a WDK against the real one. Without clang, a WDK or the rest of the repository the test in question
//! does nothing but say so.

use std::ffi::c_void;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use wdk_nmr_sys::*;

/// How a Rust type is written in C.
trait CType {
    fn name() -> String;
}

macro_rules! c_types {
    ($($rust:ty = $c:literal),* $(,)?) => { $(impl CType for $rust { fn name() -> String { $c.to_owned() } })* };
}

c_types! {
    () = "void",
    c_void = "void",
    i32 = "NTSTATUS",
    NPI_CLIENT_CHARACTERISTICS = "NPI_CLIENT_CHARACTERISTICS",
    NPI_PROVIDER_CHARACTERISTICS = "NPI_PROVIDER_CHARACTERISTICS",
    NPI_REGISTRATION_INSTANCE = "NPI_REGISTRATION_INSTANCE",
}

impl<T: CType> CType for *const T {
    fn name() -> String {
        // The const of a pointer to a pointer belongs to the pointer.
        format!("{} const *", T::name())
    }
}

impl<T: CType> CType for *mut T {
    fn name() -> String {
        format!("{} *", T::name())
    }
}

macro_rules! functions {
    ($(($($argument:ident)*))*) => {
        $(
            impl<$($argument: CType,)* R: CType> CType for unsafe extern "system" fn($($argument),*) -> R {
                fn name() -> String {
                    format!("{} (*)({})", R::name(), [$($argument::name()),*].join(", "))
                }
            }
        )*
    };
}
functions!((A)(A B C)(A B C D E)(A B C D E F G));

/// The assertions about one structure.
macro_rules! structure {
    ($text:ident, $type:ident, $($field:ident @ $c:ident),*) => {
        let _all_fields_are_named = |value: &$type| { let $type { $($field: _),* } = value; };
        let name = stringify!($type);
        let (size, align) = (size_of::<$type>(), align_of::<$type>());
        check(&mut $text, &format!("sizeof({name}) == {size}"));
        check(&mut $text, &format!("_Alignof({name}) == {align}"));
        $(
            let offset = offset_of!($type, $field);
            check(&mut $text, &format!("__builtin_offsetof({name}, {}) == {offset}", stringify!($c)));
        )*
    };
}

/// The assertions about function types.
macro_rules! signatures {
    ($text:ident, $($type:ident),*) => {
        $(compatible(&mut $text, &format!("{} *", stringify!($type)), &<$type as CType>::name());)*
    };
}

/// The assertions about functions, whose types are also compared with the declarations of the crate.
macro_rules! declared {
    ($text:ident, $($name:ident: $type:ty),* $(,)?) => {
        $(
            // Not emitted, so nothing is linked.
            const _: $type = $name;
            compatible(&mut $text, &format!("__typeof__(&{})", stringify!($name)), &<$type as CType>::name());
        )*
    };
}

macro_rules! constants {
    ($text:ident, $($name:ident),*) => {
        $(check(&mut $text, &format!("{} == ({})", stringify!($name), $name));)*
    };
}

fn check(text: &mut String, condition: &str) {
    writeln!(text, "_Static_assert({condition}, \"\");").unwrap();
}

fn compatible(text: &mut String, c: &str, rust: &str) {
    check(text, &format!("__builtin_types_compatible_p({c}, {rust})"));
}

/// Everything that Rust says about 64-bit Windows. Types without `long` look the same on every 64-bit host.
fn assertions() -> String {
    let mut text = String::new();
    structure!(text, GUID, Data1 @ Data1, Data2 @ Data2, Data3 @ Data3, Data4 @ Data4);
    structure!(text, LUID, LowPart @ LowPart, HighPart @ HighPart);
    structure!(text, NPI_MODULEID, Length @ Length, Type @ Type, Id @ Guid);
    check(&mut text, &format!("__builtin_offsetof(NPI_MODULEID, IfLuid) == {}", offset_of!(NPI_MODULEID, Id)));
    structure!(text, NPI_REGISTRATION_INSTANCE, Version @ Version, Size @ Size, NpiId @ NpiId, ModuleId @ ModuleId,
        Number @ Number, NpiSpecificCharacteristics @ NpiSpecificCharacteristics);
    structure!(text, NPI_CLIENT_CHARACTERISTICS, Version @ Version, Length @ Length,
        ClientAttachProvider @ ClientAttachProvider, ClientDetachProvider @ ClientDetachProvider,
        ClientCleanupBindingContext @ ClientCleanupBindingContext,
        ClientRegistrationInstance @ ClientRegistrationInstance);
    structure!(text, NPI_PROVIDER_CHARACTERISTICS, Version @ Version, Length @ Length,
        ProviderAttachClient @ ProviderAttachClient, ProviderDetachClient @ ProviderDetachClient,
        ProviderCleanupBindingContext @ ProviderCleanupBindingContext,
        ProviderRegistrationInstance @ ProviderRegistrationInstance);
    check(&mut text, &format!("sizeof(NPIID) == {}", size_of::<NPIID>()));
    check(&mut text, &format!("sizeof(NPI_MODULEID_TYPE) == {}", size_of::<NPI_MODULEID_TYPE>()));
    check(&mut text, &format!("sizeof(HANDLE) == {}", size_of::<HANDLE>()));
    constants!(
        text,
        MIT_GUID,
        MIT_IF_LUID,
        STATUS_SUCCESS,
        STATUS_PENDING,
        STATUS_INVALID_PARAMETER,
        STATUS_INSUFFICIENT_RESOURCES,
        STATUS_NOINTERFACE
    );
    signatures!(
        text,
        NPI_CLIENT_ATTACH_PROVIDER_FN,
        NPI_CLIENT_DETACH_PROVIDER_FN,
        NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN,
        NPI_PROVIDER_ATTACH_CLIENT_FN,
        NPI_PROVIDER_DETACH_CLIENT_FN,
        NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN
    );
    declared!(text,
        NmrRegisterClient: unsafe extern "system" fn(PNPI_CLIENT_CHARACTERISTICS, *mut c_void, *mut HANDLE) -> NTSTATUS,
        NmrDeregisterClient: unsafe extern "system" fn(HANDLE) -> NTSTATUS,
        NmrWaitForClientDeregisterComplete: unsafe extern "system" fn(HANDLE) -> NTSTATUS,
        NmrClientAttachProvider: unsafe extern "system" fn(
            HANDLE,
            *mut c_void,
            *const c_void,
            *mut *mut c_void,
            *mut *const c_void,
        ) -> NTSTATUS,
        NmrClientDetachProviderComplete: unsafe extern "system" fn(HANDLE),
        NmrRegisterProvider: unsafe extern "system" fn(
            PNPI_PROVIDER_CHARACTERISTICS,
            *mut c_void,
            *mut HANDLE,
        ) -> NTSTATUS,
        NmrDeregisterProvider: unsafe extern "system" fn(HANDLE) -> NTSTATUS,
        NmrWaitForProviderDeregisterComplete: unsafe extern "system" fn(HANDLE) -> NTSTATUS,
        NmrProviderDetachClientComplete: unsafe extern "system" fn(HANDLE),
    );
    text
}

fn clang() -> Option<PathBuf> {
    let names = [env::var("CLANG").ok(), Some("clang".into()), Some("clang-14".into())];
    let works =
        |name: &String| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    names.into_iter().flatten().find(works).map(PathBuf::from)
}

/// Compiles `include` and, in C, the assertions for both targets.
fn compile(clang: &Path, name: &str, include: &str, options: &[String]) -> Result<(), String> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.c"));
    fs::write(&file, format!("{include}\n{}", assertions())).unwrap();
    for target in ["x86_64-pc-windows-msvc", "aarch64-pc-windows-msvc"] {
        let mut command = Command::new(clang);
        command.args([
            "-fsyntax-only",
            "-std=c11",
            "-Werror=all",
            "-Wno-microsoft-anon-tag",
            "-Wno-unknown-warning-option",
        ]);
        command.arg(format!("--target={target}")).args(options).arg(&file);
        let output = command.output().unwrap();
        if !output.status.success() {
            return Err(format!("{target}:\n{}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    Ok(())
}

/// The C headers of NMR that the repository has, by name.
fn headers() -> Option<Vec<(&'static str, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("nmr-registrar/include");
    let read = |name| Some((name, fs::read_to_string(folder.join(name)).ok()?));
    ["nmr_types.h", "netiodef.h", "netioddk.h"].into_iter().map(read).collect()
}

/// A folder with these headers, as an option of the compiler.
fn folder(name: &str, headers: &[(&str, String)]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in headers {
        fs::write(folder.join(name), text).unwrap();
    }
    format!("-I{}", folder.display())
}

#[test]
fn every_type_and_function_is_as_c_declares_it() {
    const INCLUDE: &str = "#include <netioddk.h>";
    let Some(clang) = clang() else { return eprintln!("not compared with C: there is no clang") };
    let Some(headers) = headers() else {
        return eprintln!("not compared with C: nmr-registrar's headers are not here");
    };
    compile(&clang, "own", INCLUDE, &[folder("own", &headers)]).unwrap_or_else(|error| panic!("{error}"));
    // What the comparison is worth: other declarations do not pass.
    for (from, to) in [
        ("USHORT Size;", "ULONG Size;"),
        ("MIT_GUID = 1", "MIT_GUID = 0"),
        ("const void **ProviderDispatch);", "void **ProviderDispatch);"),
        ("VOID NTAPI NmrClientDetachProviderComplete", "NTSTATUS NTAPI NmrClientDetachProviderComplete"),
        ("STATUS_NOINTERFACE ((NTSTATUS)0xC00002B9)", "STATUS_NOINTERFACE ((NTSTATUS)0xC00002B8)"),
    ] {
        assert!(headers.iter().any(|(_, text)| text.contains(from)), "{from}");
        let changed: Vec<_> = headers.iter().map(|(name, text)| (*name, text.replace(from, to))).collect();
        compile(&clang, "changed", INCLUDE, &[folder("changed", &changed)]).expect_err(to);
    }
}

/// In a WDK prompt, where `WDKContentRoot` and `Version_Number` say where the headers are.
#[test]
fn every_type_and_function_is_as_the_wdk_declares_it() {
    let root = env::var("WDKContentRoot").ok().zip(env::var("Version_Number").ok());
    let Some((root, version)) = root else { return eprintln!("not compared with the WDK: there is none") };
    let include = Path::new(&root).join("Include").join(version);
    if !include.join("km/netioddk.h").is_file() {
        return eprintln!("not compared with the WDK: {} has no km/netioddk.h", include.display());
    }
    let Some(clang) = clang() else { return eprintln!("not compared with the WDK: there is no clang") };
    let mut options: Vec<_> =
        ["km", "shared", "km/crt", "um"].map(|folder| format!("-isystem{}", include.join(folder).display())).into();
    options.extend(["-fms-extensions".into(), "-w".into()]);
    let text = "#if defined(_M_X64)\n#define _AMD64_\n#else\n#define _ARM64_\n#endif\n\
                #include <ntddk.h>\n#include <netioddk.h>";
    compile(&clang, "wdk", text, &options).unwrap_or_else(|error| panic!("{error}"));
}

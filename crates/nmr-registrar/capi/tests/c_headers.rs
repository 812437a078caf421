//! The C headers of NMR are C and C++, for Windows on both architectures and for this host. What they declare is
//! compared with Rust by the layout test of wdk-nmr-sys. Needs clang, which `CLANG` names; without it the test does
//! nothing but say so.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What the headers have that no test of the library uses in C.
const USE: &str = r"
#include <netioddk.h>
PNPI_CLIENT_ATTACH_PROVIDER_FN a;
PNPI_CLIENT_DETACH_PROVIDER_FN b;
PNPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN c;
PNPI_PROVIDER_ATTACH_CLIENT_FN d;
PNPI_PROVIDER_DETACH_CLIENT_FN e;
PNPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN f;
PNPI_CLIENT_CHARACTERISTICS g;
PNPI_PROVIDER_CHARACTERISTICS h;
BOOLEAN same(PNPI_MODULEID left, PNPI_MODULEID right) { return NmrIsEqualNpiModuleId(left, right); }
static NPI_CLIENT_ATTACH_PROVIDER_FN attach;
static NTSTATUS NTAPI attach(HANDLE binding, PVOID context, PNPI_REGISTRATION_INSTANCE instance)
{
    PVOID provider;
    const void *dispatch;
    return instance ? NmrClientAttachProvider(binding, context, 0, &provider, &dispatch) : STATUS_NOINTERFACE;
}
NPI_CLIENT_CHARACTERISTICS client = {0, sizeof client, attach, 0, 0, {0, sizeof client, 0, 0, 0, 0}};
";

/// How the base types come in: by themselves, and from Windows headers that were included before, of which this is as
/// much as is needed.
const BEFORE: [(&str, &str); 2] = [
    ("alone", ""),
    (
        "behind-windows-headers",
        "#define _NTDEF_
#define NTAPI __stdcall
#define STATUS_NOINTERFACE ((NTSTATUS)0xC00002B9L)
#define FALSE 0
#define TRUE 1
typedef void VOID, *PVOID, *HANDLE, **PHANDLE;
typedef long LONG, NTSTATUS;
typedef unsigned long ULONG;
typedef unsigned short USHORT;
typedef unsigned char UCHAR, BOOLEAN;
typedef struct _GUID { ULONG Data1; USHORT Data2; USHORT Data3; UCHAR Data4[8]; } GUID;
typedef struct _LUID { ULONG LowPart; LONG HighPart; } LUID;",
    ),
];

#[test]
fn the_headers_are_c_and_cpp_for_every_target() {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    if !Command::new(&clang).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return eprintln!("not compiled: there is no {clang}");
    }
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let windows = ["x86_64-pc-windows-msvc", "aarch64-pc-windows-msvc"].map(|target| format!("--target={target}"));
    for (name, before) in BEFORE {
        let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.c"));
        fs::write(&source, format!("{before}{USE}")).expect("the target directory can be written to");
        // Host headers know no __stdcall.
        let host = before.is_empty().then(String::new);
        for target in windows.iter().cloned().chain(host) {
            for language in [["-xc", "-std=c11"], ["-xc", "-std=gnu89"], ["-xc++", "-std=c++14"]] {
                let mut command = Command::new(&clang);
                command.args(["-fsyntax-only", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wno-missing-braces"]);
                command.args(["-Wno-microsoft-anon-tag", "-Wno-missing-field-initializers"]).args(language);
                command.arg("-I").arg(&include).args(Some(&target).filter(|target| !target.is_empty())).arg(&source);
                let output = command.output().expect("clang can be run");
                assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}

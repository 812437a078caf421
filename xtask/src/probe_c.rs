//! Builds clients/probe-c, the client driver in C, with clang and lld.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_wdk_linux::setup::Tools;
use cargo_wdk_linux::{c, content_root, import_library};

use crate::layout::{self, Arch};
use crate::run::{run, write_if_changed};

const SOURCES: [&str; 3] = ["driver", "client", "device"];

/// The compiler's part of what the WDK's build rules do, beyond what all C code of drivers gets.
const COMPILE_ARGUMENTS: &[&str] = &[
    "-std=c11",
    "-O2",
    "-g",
    "-ffile-compilation-dir=/sluice",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    // As near to MSVC's level 4 and code analysis as clang comes; xtask/tests/probe_c.rs looks at what it does not see.
    "-Wassign-enum",
    "-Wbad-function-cast",
    "-Wcast-align",
    "-Wcast-qual",
    "-Wcomma",
    "-Wformat=2",
    "-Wimplicit-fallthrough",
    "-Wmissing-prototypes",
    "-Wmissing-variable-declarations",
    "-Wpointer-arith",
    "-Wshadow-all",
    "-Wstrict-prototypes",
    "-Wswitch-enum",
    "-Wundef",
    "-Wunreachable-code-aggressive",
    "-Wunused-macros",
    "-Wvla",
    "-Werror",
    // mingw-w64 has neither this flag nor its function; rig/wdk/include declares the function alone.
    "-DPOOL_FLAG_NON_PAGED=0x40",
];

const LINK_ARGUMENTS: &[&str] = &[
    "/DRIVER",
    "/SUBSYSTEM:NATIVE,10.0",
    "/ENTRY:DriverEntry",
    "/NODEFAULTLIB",
    "/DYNAMICBASE",
    "/HIGHENTROPYVA",
    "/NXCOMPAT",
    "/INTEGRITYCHECK",
    "/OPT:REF",
    // A checksum, no time of day, and symbols that are found by the name of their file alone.
    "/RELEASE",
    "/Brepro",
    "/DEBUG:FULL",
    "/PDBALTPATH:%_PDB%",
];

/// Builds probe-c.sys and its symbols into `target/drivers/<arch>`, linked by `linker` as the other drivers are. The
/// content root has to be there.
///
/// The tools work in the root of the repository and are given paths relative to it, since they write them into the
/// symbols, and the linker a hash of those into the image: so the same source makes the same bytes in every folder.
///
/// # Errors
/// A tool fails, or a file cannot be written.
pub(crate) fn build(tools: &Tools, linker: &Path, arch: Arch) -> Result<[PathBuf; 2]> {
    let source = Path::new("clients/probe-c");
    let content_root = relative(tools.kit.content_root())?;
    let made = relative(layout::workspace().cargo_target())?.join(format!("probe-c-{arch}"));
    let folder = layout::root().join(&made);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let in_root = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir(layout::root());
        command
    };

    let netio = made.join("netio.lib");
    run(import_library::dlltool(tools, arch, &source.join("linux/netio.def"), &netio).current_dir(layout::root()))?;

    let clang = tools.libclang.with_file_name("bin").join("clang");
    let mut link = in_root(linker);
    link.args(["-flavor", "link"]).args(LINK_ARGUMENTS);
    for name in SOURCES {
        let object = made.join(format!("{name}.obj"));
        let mut compile = in_root(&clang);
        compile.arg(format!("--target={}", arch.driver_target())).args(COMPILE_ARGUMENTS);
        compile.arg("-I").arg("crates/sluice-npi/include");
        // netioddk.h, which mingw-w64 lacks. What else is there has other names than its headers.
        compile.arg("-I").arg("crates/nmr-registrar/include");
        compile.args(c::arguments(arch, &content_root));
        // Newer versions of clang write the name into the symbols, by default with the folder that they run in.
        compile.args(["-Xclang", &format!("-object-file-name={name}.obj")]);
        run(compile.arg("-c").arg(source.join(format!("{name}.c"))).arg("-o").arg(&object))?;
        link.arg(object);
    }
    let resources = made.join("probe-c.res");
    let mut compile = in_root(&tools.libclang.with_file_name("bin").join("llvm-rc"));
    compile.args(["/no-preprocess", "/fo"]).arg(&resources).arg(source.join("probe-c.rc"));
    run(&mut compile)?;
    link.arg(resources);

    let mut out = OsString::from("/OUT:");
    out.push(made.join("probe-c.sys"));
    let ntoskrnl = relative(content_root::libraries(&tools.kit, arch))?.join("ntoskrnl.lib");
    run(link.arg(out).arg(ntoskrnl).arg(netio))?;

    let drivers = layout::drivers(arch);
    let collect = |file: &str| -> Result<PathBuf> {
        let (from, to) = (folder.join(file), drivers.join(file));
        write_if_changed(&to, fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?)?;
        Ok(to)
    };
    Ok([collect("probe-c.sys")?, collect("probe-c.pdb")?])
}

/// A path in the repository, from its root.
fn relative(path: PathBuf) -> Result<PathBuf> {
    let below = path.strip_prefix(layout::root());
    below.map(Path::to_path_buf).with_context(|| format!("{} is outside of the repository", path.display()))
}

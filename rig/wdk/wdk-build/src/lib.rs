//! Takes the place of Microsoft's `wdk-build` 0.6.0 on hosts that are not Windows.
//!
//! The original finds the WDK through the Windows registry and refuses to compile elsewhere. The build scripts of
//! `wdk-sys`, `wdk`, `wdk-alloc` and `wdk-panic`, which are used unmodified, need of it what this crate has: where the
//! headers and import libraries are, how bindgen has to read them, and how a driver is linked. The names are the
//! original's, because those build scripts spell them.
//!
//! Four things differ, all because `cargo xtask build` makes its WDK content root from the headers of mingw-w64:
//!
//! - The content root comes from the environment alone: `WDKContentRoot` and `Version_Number`, as in an eWDK prompt.
//! - clang reads the headers as those of a GNU target, without the Microsoft compatibility mode, which they do not
//!   expect.
//! - The headers are read as those of x64 for every architecture: the DDK of mingw-w64 lacks ARM64. What drivers share
//!   with the kernel (`DRIVER_OBJECT`, `DEVICE_OBJECT`, `IRP`, `MDL`, `KEVENT`, ...) has one layout on both. What
//!   belongs to a processor (`CONTEXT`, `KPCR`, `KFLOATING_SAVE`, `SLIST_HEADER`) differs: an ARM64 driver that is
//!   built here must not use it.
//! - Only WDM drivers can be configured. mingw-w64 has no headers of the driver frameworks.

use std::borrow::Borrow;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fmt, io};

/// What a build that needs the WDK is configured for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    include: PathBuf,
    libraries: PathBuf,
    /// The driver model, always [`DriverConfig::Wdm`] here.
    pub driver_config: DriverConfig,
}

/// The driver model. The frameworks are listed because build scripts match on them; nothing here makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverConfig {
    /// Windows Driver Model.
    Wdm,
    /// Kernel-Mode Driver Framework.
    Kmdf(KmdfConfig),
    /// User-Mode Driver Framework.
    Umdf(UmdfConfig),
}

/// The version of the Kernel-Mode Driver Framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KmdfConfig {
    /// Major version.
    pub kmdf_version_major: u8,
    /// Minor version that the driver is built for.
    pub target_kmdf_version_minor: u8,
    /// Oldest minor version that the driver runs on.
    pub minimum_kmdf_version_minor: Option<u8>,
}

/// The version of the User-Mode Driver Framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UmdfConfig {
    /// Major version.
    pub umdf_version_major: u8,
    /// Minor version that the driver is built for.
    pub target_umdf_version_minor: u8,
    /// Oldest minor version that the driver runs on.
    pub minimum_umdf_version_minor: Option<u8>,
}

/// A part of the WDK's functions that bindings can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiSubset {
    /// What every driver uses: ntddk.h and its like.
    Base,
    /// The driver frameworks.
    Wdf,
    /// General-purpose input and output.
    Gpio,
    /// Human interface devices.
    Hid,
    /// Parallel ports.
    ParallelPorts,
    /// Simple peripheral bus.
    Spb,
    /// Storage.
    Storage,
    /// Universal serial bus.
    Usb,
}

/// A file or folder that could not be used.
#[derive(Debug)]
pub struct IoError {
    path: PathBuf,
    source: io::Error,
}

impl IoError {
    /// `source` happened at `path`.
    pub fn with_path(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self { path: path.into(), source }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.source)
    }
}

impl Error for IoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Why a build cannot be configured.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file or folder could not be used.
    Io(IoError),
    /// An environment variable that the build needs is not set.
    Environment {
        /// Its name.
        name: &'static str,
    },
    /// The target is not one that Windows drivers exist for.
    Target {
        /// `CARGO_CFG_TARGET_ARCH` as cargo gave it.
        arch: String,
    },
    /// The C run-time library is not linked statically, which drivers demand.
    StaticCrtNotEnabled,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Environment { name } => {
                write!(f, "{name} is not set: on this host, drivers are built with `cargo xtask build`")
            }
            Self::Target { arch } => write!(f, "no drivers are built for {arch}; x86_64 and aarch64 are supported"),
            Self::StaticCrtNotEnabled => {
                f.write_str("drivers are built with RUSTFLAGS='-C target-feature=+crt-static'")
            }
        }
    }
}

impl Error for ConfigError {}

impl From<IoError> for ConfigError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl Config {
    /// The configuration that the environment of a build script describes.
    ///
    /// # Errors
    /// A variable is missing, the target is not supported, or the content root lacks a folder.
    pub fn from_env_auto() -> Result<Self, ConfigError> {
        let root = PathBuf::from(variable("WDKContentRoot")?);
        let version = variable("Version_Number")?;
        let arch = variable("CARGO_CFG_TARGET_ARCH")?;
        let folder = match arch.as_str() {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            _ => return Err(ConfigError::Target { arch }),
        };
        Ok(Self {
            include: directory(root.join("Include").join(&version))?,
            libraries: directory(root.join("Lib").join(&version).join("km").join(folder))?,
            driver_config: DriverConfig::Wdm,
        })
    }

    /// The folders with headers, in the order in which they are searched.
    ///
    /// # Errors
    /// One of them does not exist.
    pub fn include_paths(&self) -> Result<impl Iterator<Item = PathBuf>, ConfigError> {
        let paths: Vec<PathBuf> = ["km/crt", "km", "shared", "um"]
            .into_iter()
            .map(|name| directory(self.include.join(name)))
            .collect::<Result<_, _>>()?;
        Ok(paths.into_iter())
    }

    /// The macros that the headers expect: name, and value where there is one.
    pub fn preprocessor_definitions(&self) -> impl Iterator<Item = (String, Option<String>)> {
        ["_WIN64", "_AMD64_", "AMD64", "_KERNEL_MODE"].into_iter().map(|name| (name.to_owned(), None))
    }

    /// A C source text that includes the headers of these subsets.
    ///
    /// # Errors
    /// None; the original has some.
    pub fn bindgen_header_contents(&self, subsets: impl IntoIterator<Item = ApiSubset>) -> Result<String, ConfigError> {
        Ok(subsets
            .into_iter()
            .flat_map(|subset| match subset {
                ApiSubset::Base => ["ntifs.h", "ntddk.h", "ntstrsafe.h"].as_slice(),
                _ => &[],
            })
            .map(|header| format!("#include \"{header}\"\n"))
            .collect())
    }

    /// The `#[link]` attributes that bindings of this subset start with.
    #[must_use]
    pub fn bindgen_library_link_raw_lines(&self, subset: ApiSubset) -> Option<String> {
        (subset == ApiSubset::Base).then(|| {
            "#[cfg(not(any(test, feature = \"suppress-wdk-linking\")))]\n\
             #[link(name = \"ntoskrnl\", kind = \"static\", modifiers = \"-bundle\")]\n\
             unsafe extern \"C\" {}\n"
                .to_owned()
        })
    }

    /// The symbol of the function table of a driver framework: WDM has none.
    #[must_use]
    pub fn compute_wdffunctions_symbol_name(&self) -> Option<String> {
        None
    }

    fn emit_cfg(&self) {
        println!("cargo::rustc-check-cfg=cfg(driver_model__driver_type, values(\"WDM\", \"KMDF\", \"UMDF\"))");
        println!("cargo::rustc-cfg=driver_model__driver_type=\"WDM\"");
        for name in ["WDKContentRoot", "Version_Number"] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        println!("cargo::rerun-if-changed={}", self.include.display());
    }
}

/// Configures bindgen for the headers of the content root.
pub trait BuilderExt {
    /// A builder that reads the headers as kernel code and writes `no_std` Rust.
    ///
    /// # Errors
    /// A folder of the content root does not exist.
    fn wdk_default(config: impl Borrow<Config> + fmt::Debug) -> Result<bindgen::Builder, ConfigError>;
}

impl BuilderExt for bindgen::Builder {
    fn wdk_default(config: impl Borrow<Config> + fmt::Debug) -> Result<bindgen::Builder, ConfigError> {
        let config = config.borrow();
        let definitions = config.preprocessor_definitions().map(|(name, value)| match value {
            Some(value) => format!("-D{name}={value}"),
            None => format!("-D{name}"),
        });
        let mut builder = bindgen::Builder::default()
            .use_core()
            .derive_default(true)
            .generate_cstr(true)
            .default_enum_style(bindgen::EnumVariation::ModuleConsts)
            .must_use_type("NTSTATUS")
            .must_use_type("HRESULT")
            .formatter(bindgen::Formatter::Prettyplease)
            .rust_edition(bindgen::RustEdition::Edition2024)
            .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
            .detect_include_paths(false)
            .clang_args(["--target=x86_64-w64-windows-gnu", "-fms-extensions", "-nostdinc", "-w", "-fno-builtin"])
            .clang_args(definitions)
            .clang_args(config.include_paths()?.map(|path| format!("-isystem{}", path.display())));
        // The pool functions that ExAllocatePool2 replaced: wdk-sys leaves them out, so that no driver uses them.
        for deprecated in
            ["ExAllocatePool", "ExAllocatePoolWithTag", "ExAllocatePoolWithQuotaTag", "ExAllocatePoolWithTagPriority"]
        {
            builder = builder.blocklist_item(deprecated);
        }
        Ok(builder)
    }
}

/// Tells cargo the driver model of the workspace, as `cfg(driver_model__driver_type)`.
///
/// # Errors
/// The environment does not describe a WDK.
pub fn configure_wdk_library_build() -> Result<(), ConfigError> {
    configure_wdk_library_build_and_then(|_| Ok(()))
}

/// [`configure_wdk_library_build`], then what `and_then` does with the configuration.
///
/// # Errors
/// The environment does not describe a WDK, or `and_then` failed.
pub fn configure_wdk_library_build_and_then<E>(and_then: impl FnOnce(Config) -> Result<(), E>) -> Result<(), E>
where
    E: From<ConfigError>,
{
    let config = Config::from_env_auto()?;
    config.emit_cfg();
    and_then(config)
}

/// Tells cargo how the driver is linked: what the WDK's build rules pass to the linker for a WDM driver.
///
/// `/KERNEL` and `/MAPINFO:EXPORTS` are left out: they have no effect on the image, and older versions of lld refuse
/// them.
///
/// # Errors
/// The environment does not describe a WDK, or the C run-time library is not linked statically.
pub fn configure_wdk_binary_build() -> Result<(), ConfigError> {
    let features = variable("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if !features.split(',').any(|feature| feature == "crt-static") {
        return Err(ConfigError::StaticCrtNotEnabled);
    }
    let config = Config::from_env_auto()?;
    println!("cargo::rustc-link-search={}", config.libraries.display());
    println!("cargo::rerun-if-changed={}", config.libraries.display());
    for argument in [
        "/DRIVER",
        "/SUBSYSTEM:NATIVE",
        "/ENTRY:DriverEntry",
        "/NODEFAULTLIB",
        "/NXCOMPAT",
        "/DYNAMICBASE",
        "/INTEGRITYCHECK",
        "/OPT:REF,ICF",
        "/MANIFEST:NO",
    ] {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
    config.emit_cfg();
    Ok(())
}

fn variable(name: &'static str) -> Result<String, ConfigError> {
    env::var(name).map_err(|_| ConfigError::Environment { name })
}

fn directory(path: impl AsRef<Path>) -> Result<PathBuf, ConfigError> {
    let path = path.as_ref();
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(path.to_path_buf()),
        Ok(_) => Err(IoError::with_path(path, io::ErrorKind::NotADirectory.into()).into()),
        Err(source) => Err(IoError::with_path(path, source).into()),
    }
}

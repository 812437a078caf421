//! Wine prefixes: a template that is made once and kept, and a copy of it for every rig.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::process::wait;
use crate::wine::Wine;

/// It takes 6 s on an idle machine, 30 s in an emulator; nothing has been measured before it.
const BOOT_LIMIT: Duration = Duration::from_secs(600);
/// In the template: the version of Wine that made it.
const MADE_BY: &str = ".made-by";
/// Where Debian's Wine notes the folder in /tmp of the server that belongs to a prefix. A copy with that note would
/// share the template's server.
const SERVER_NOTE: &str = "wineserver";

/// Makes a fresh prefix of that name and returns its folder.
///
/// # Errors
/// Wine cannot make the template, or the copy fails.
pub(crate) fn fresh(arch: Arch, wine: &Wine, name: &str) -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let template = template(arch, wine)?;
    let prefixes = arch.rig().join("prefixes");
    // A process in a container may have the id of one that left a prefix.
    let prefix = iter::repeat_with(|| NUMBER.fetch_add(1, Ordering::Relaxed))
        .map(|number| prefixes.join(format!("{name}-{}-{number}", process::id())))
        .find(|prefix| !prefix.exists())
        .context("every number is taken")?;
    copy(&template, &prefix).with_context(|| format!("cannot copy {} to {}", template.display(), prefix.display()))?;
    Ok(prefix)
}

/// The template, made if there is none by this version of Wine. One thread of one process makes it; others wait.
fn template(arch: Arch, wine: &Wine) -> Result<PathBuf> {
    let folder = arch.rig();
    let template = folder.join("prefix");
    let version = wine.version()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lock = folder.join("prefix.lock");
    let lock = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
    lock.lock().context("cannot wait for the Wine prefix that another process makes")?;
    if fs::read_to_string(template.join(MADE_BY)).is_ok_and(|made_by| made_by == version) {
        return Ok(template);
    }
    remove(&template)?;
    fs::create_dir(&template).with_context(|| format!("cannot make {}", template.display()))?;
    let mut boot = wine.program(&template, "wineboot");
    finish(boot.arg("--init"), "wineboot --init")?;
    // Ends the server, which writes the registry to the prefix before it goes.
    finish(wine.server(&template).arg("--kill"), "wineserver --kill")?;
    finish(wine.server(&template).arg("--wait"), "wineserver --wait")?;
    remove_server_folder(&template);
    // Last: a prefix without it counts as incomplete.
    fs::write(template.join(MADE_BY), &version).context("cannot write into a new Wine prefix")?;
    Ok(template)
}

fn finish(command: &mut Command, line: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    // `wineserver --kill` fails when the server has ended by itself, which is as good.
    match wait(&mut child, BOOT_LIMIT)? {
        Some(status) if status.success() || line.ends_with("--kill") => Ok(()),
        Some(status) => bail!("`{line}` ended with {status}"),
        None => bail!("`{line}` did not end within {} s", BOOT_LIMIT.as_secs()),
    }
}

/// Removes what the server of a prefix, ended by now, has left in /tmp: Debian's Wine makes a folder for each and keeps
/// it. Other builds of Wine write no such note, and have one folder for all.
pub(crate) fn remove_server_folder(prefix: &Path) {
    let note = fs::read_to_string(prefix.join(SERVER_NOTE)).unwrap_or_default();
    let name = note.trim();
    if name.starts_with("wine-") && !name.contains('/') {
        // What cannot be removed does no harm.
        let _ = fs::remove_dir_all(Path::new("/tmp").join(name));
    }
}

/// Removes a folder if it is there.
///
/// # Errors
/// It is there and cannot be removed.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Copies a prefix. The files of Wine itself, 700 MB that are never written to, become hard links; the registry is
/// copied.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_symlink() {
            symlink(&fs::read_link(&source)?, &target)?;
        } else if entry.file_name() != SERVER_NOTE {
            let is_registry = source.extension().is_some_and(|extension| extension == "reg");
            if is_registry || fs::hard_link(&source, &target).is_err() {
                fs::copy(&source, &target)?;
            }
        }
    }
    Ok(())
}

#[cfg(unix)]
fn symlink(destination: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(destination, link)
}

/// This crate is for hosts with Wine. On Windows it compiles, so that the workspace does.
#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

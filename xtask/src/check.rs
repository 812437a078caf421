//! `cargo xtask check`: cargo check of every crate: those that a host can build as they are, the others in the twin of
//! the workspace, for Windows.
//!
//! It is also what rust-analyzer runs (.vscode/settings.json), for build scripts and for errors: its messages then say
//! of the twin's packages what belongs to those of the workspace.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::run::{cargo, line};
use crate::{build, layout};

/// The arguments of `cargo xtask check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The format of cargo's messages
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    message_format: String,
}

/// `cargo xtask check`.
///
/// # Errors
/// Something does not compile.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let format = arguments.message_format.as_str();
    let mut commands = vec![cargo(&["check", "--all-targets", "--keep-going", "--message-format", format])];
    match build::check_commands(format)? {
        Some(for_windows) => commands.extend(for_windows),
        None => eprintln!("The drivers are not checked: `cargo xtask setup` installs what that takes."),
    }
    let mut failed = Vec::new();
    for command in &mut commands {
        if !translated(command)? {
            failed.push(line(command));
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
        failed => bail!("failed:\n  {}", failed.join("\n  ")),
    }
}

/// Runs a command, and prints what it writes to its output with the names of this workspace in the place of the twin's.
/// Returns whether it succeeded.
fn translated(command: &mut Command) -> Result<bool> {
    let output = command.stderr(Stdio::inherit()).output()?;
    let names =
        [(layout::workspace().twin(), layout::root())].map(|(twin, root)| [of_path(&twin, root), of_url(&twin, root)]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = names.concat().into_iter().fold(text, |text, (from, to)| text.replace(&from, &to));
    print!("{text}");
    Ok(output.status.success())
}

fn of_path(twin: &Path, root: &Path) -> (String, String) {
    (twin.to_string_lossy().into_owned(), root.to_string_lossy().into_owned())
}

/// Both as they are in the URLs that packages are called by.
fn of_url(twin: &Path, root: &Path) -> (String, String) {
    let encoded = |path: &Path| {
        let text = path.to_string_lossy();
        let bytes = text.bytes().map(|byte| match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
        bytes.collect::<String>()
    };
    (encoded(twin), encoded(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_of_the_twin_is_called_as_in_the_workspace() {
        let (twin, root) = (Path::new("/r/Schleuse é/target/twin"), Path::new("/r/Schleuse é"));
        let (from, to) = of_url(twin, root);
        let id = r#""package_id":"path+file:///r/Schleuse%20%C3%A9/target/twin#sluice@0.1.0""#;
        assert_eq!(id.replace(&from, &to), r#""package_id":"path+file:///r/Schleuse%20%C3%A9#sluice@0.1.0""#);
    }
}

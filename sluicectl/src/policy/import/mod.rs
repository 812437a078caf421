//! `sluicectl policy import`: the rules of other firewalls as a policy.
//!
//! A rule becomes a rule of the policy only if that means the same. Every rule that cannot be expressed is listed, with
//! the reason: on standard error, and as a comment where it would stand.

mod classbench;
mod iptables;
mod nftables;
mod rule;
mod windows;

use std::io::{self, Read, Write};
use std::path::Path;

use crate::args::{ImportArgs, ImportFormat};
use crate::failure::{Failure, warn};

pub(super) fn run(args: &ImportArgs) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let imported = match args.format {
        ImportFormat::Classbench => classbench::import(&text),
        ImportFormat::Iptables => iptables::import(&text, &args.chain),
        ImportFormat::Nftables => nftables::import(&text, &args.chain),
        ImportFormat::Windows => windows::import(&text),
    };
    let imported = imported.map_err(|why| Failure::Input(format!("{}: {why}", args.file.display())))?;
    for (rule, why) in imported.left_out() {
        warn(&format!("left out: {rule}: {why}"));
    }
    let mut output = anstream::stdout().lock();
    output.write_all(imported.policy().as_bytes())?;
    output.flush()?;
    let (taken, left_out) = (imported.taken(), imported.left_out().count());
    if args.strict && left_out > 0 {
        return Err(Failure::Input(format!("{left_out} of {} rules cannot be expressed", taken + left_out)));
    }
    Ok(())
}

/// The text of a file, which Windows may have written in UTF-16; `-` is standard input.
fn read(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: io::Error| Failure::unreadable(path, &error);
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        bytes = std::fs::read(path).map_err(unreadable)?;
    }
    Ok(match &bytes[..] {
        [0xFF, 0xFE, rest @ ..] => {
            let units: Vec<u16> = rest.as_chunks().0.iter().copied().map(u16::from_le_bytes).collect();
            String::from_utf16_lossy(&units)
        }
        bytes => String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)).into_owned(),
    })
}

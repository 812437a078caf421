//! Host names in the form in which the classifier compares them.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The name in its ASCII form (RFC 5891), in lower case, without the dot of the root.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    if text == "." || text == "*" || text == "*." {
        return Err("every name is below the root: a rule without `name` matches them all".to_owned());
    }
    if let Some(parent) = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
        return Err(match host_name(parent) {
            Ok(_) => format!("did you mean \"{parent}\"? It stands for the names below it as well"),
            Err(why) => why,
        });
    }
    let name = Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::VerifyAllowRootDot)
        .map_err(|_| "expected a host name: labels of 1 to 63 characters, 253 in all".to_owned())?;
    // Host names have no underscores, but many names that DNS is asked for have them.
    if let Some(wrong) = name.chars().find(|&c| !c.is_ascii_alphanumeric() && !"-_.".contains(c)) {
        return Err(format!("{wrong:?} is not allowed in a host name"));
    }
    Ok(name.trim_end_matches('.').to_ascii_lowercase())
}

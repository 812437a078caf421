//! The log of netio.sys: one event a line.
//!
//! `seconds driver event key=value key="quoted value"`; the quoting is that of rig/netio's log.rs.

use std::fmt;

use anyhow::{Context, Result, bail};

/// Something that happened in the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Seconds since netio.sys was loaded.
    pub seconds: f64,
    /// Which driver it is about: its file name without `.sys`.
    pub driver: String,
    /// What happened: `load`, `debug`, `nmr`, `callback`, `leak`, `unload`, `bugcheck` and others.
    pub name: String,
    /// The properties, in the order of the line.
    pub properties: Vec<(String, String)>,
}

impl Event {
    /// Reads a line.
    ///
    /// # Errors
    /// The line does not have the form of an event.
    pub fn parse(line: &str) -> Result<Self> {
        let read = || {
            let mut parts = line.splitn(4, ' ');
            let mut next = |what| parts.next().with_context(|| format!("expected a {what}"));
            let seconds = next("time")?;
            let seconds = seconds.parse().with_context(|| format!("expected a time in seconds, found `{seconds}`"))?;
            let driver = next("driver")?.to_string();
            let name = next("event")?.to_string();
            let properties = properties(parts.next().unwrap_or_default())?;
            Ok::<_, anyhow::Error>(Self { seconds, driver, name, properties })
        };
        read().with_context(|| format!("not an event of netio.log: `{line}`"))
    }

    /// The value of a property.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value of a property that is a number; 0 without one.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self.get(key).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Whether it is this event of this driver.
    #[must_use]
    pub fn is(&self, driver: &str, name: &str) -> bool {
        self.driver == driver && self.name == name
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:9.4} s  {:<8} {}", self.seconds, self.driver, self.name)?;
        self.properties.iter().try_for_each(|(key, value)| match key.as_str() {
            "text" | "why" => write!(out, ": {value}"),
            _ => write!(out, " {key}={value}"),
        })
    }
}

fn properties(mut rest: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=').with_context(|| format!("expected key=value, found `{rest}`"))?;
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = value.find(' ').unwrap_or(value.len());
                (value[..end].to_string(), &value[end..])
            }
        };
        found.push((key.to_string(), value));
        rest = behind.trim_start_matches(' ');
    }
    Ok(found)
}

/// Reads up to the closing quote; returns the text and what follows.
fn unquote(quoted: &str) -> Result<(String, &str)> {
    let mut bytes = Vec::new();
    let mut rest = quoted.bytes().enumerate();
    while let Some((index, byte)) = rest.next() {
        match byte {
            b'"' => return Ok((String::from_utf8_lossy(&bytes).into_owned(), &quoted[index + 1..])),
            b'\\' => match rest.next().map(|(_, escaped)| escaped) {
                Some(b'n') => bytes.push(b'\n'),
                Some(b'r') => bytes.push(b'\r'),
                Some(b't') => bytes.push(b'\t'),
                Some(b'x') => {
                    let digits = quoted.get(index + 2..index + 4).unwrap_or_default();
                    bytes.push(
                        u8::from_str_radix(digits, 16)
                            .with_context(|| format!("expected two hexadecimal digits, found `\\x{digits}`"))?,
                    );
                    rest.nth(1);
                }
                Some(other) => bytes.push(other),
                None => break,
            },
            _ => bytes.push(byte),
        }
    }
    bail!("expected a closing quote in `\"{quoted}`")
}

/// What is left of a driver after its unload, or of all drivers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Pool allocations that were not freed.
    pub allocations: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// NMR registrations that were not ended.
    pub registrations: u64,
    /// NMR bindings that were not cleaned up.
    pub bindings: u64,
    /// ETW providers that were not unregistered.
    pub etw_providers: u64,
    /// Handles that were not closed.
    pub handles: u64,
    /// Devices that were not deleted.
    pub devices: u64,
    /// Symbolic links that were not deleted.
    pub links: u64,
}

impl Left {
    /// What an `unload` or `report` event says.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        Self {
            allocations: event.number("allocations"),
            bytes: event.number("bytes"),
            registrations: event.number("registrations"),
            bindings: event.number("bindings"),
            etw_providers: event.number("etw_providers"),
            handles: event.number("handles"),
            devices: event.number("devices"),
            links: event.number("links"),
        }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Left {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} allocations ({} bytes), {} registrations, {} bindings",
            self.allocations, self.bytes, self.registrations, self.bindings
        )?;
        let rare = [
            (self.etw_providers, "ETW providers"),
            (self.handles, "handles"),
            (self.devices, "devices"),
            (self.links, "symbolic links"),
        ];
        rare.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, what)| write!(out, ", {count} {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_quoted_values() {
        let line = r#"0.012345 sluice debug text="a \"b\"\\\n\xe4=" next=1"#;
        let event = Event::parse(line).unwrap();
        assert!(event.is("sluice", "debug"));
        assert_eq!(event.seconds, 0.012345);
        assert_eq!(event.get("text"), Some("a \"b\"\\\n\u{fffd}="));
        assert_eq!(event.number("next"), 1);
    }

    #[test]
    fn a_line_without_properties_is_an_event() {
        assert_eq!(Event::parse("1.5 netio start").unwrap().properties, []);
    }

    #[test]
    fn a_line_that_is_cut_off_is_an_error_that_shows_it() {
        for line in ["", "1.5", "1.5 sluice", "x sluice load", "1.5 sluice debug text=\"abc", "1.5 sluice load base"] {
            let error = Event::parse(line).unwrap_err();
            assert!(format!("{error:#}").contains(&format!("`{line}`")), "{error:#}");
        }
    }
}

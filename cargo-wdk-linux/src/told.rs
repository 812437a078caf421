//! What happened in the rig, in words for somebody who watches.

use wdk_rig::Event;

/// What an event is to somebody who watches; none if it is of no interest.
#[must_use]
pub fn told(event: &Event) -> Option<String> {
    let get = |key| event.get(key).unwrap_or("?");
    match event.name.as_str() {
        "debug" => Some(format!("prints: {}", get("text"))),
        "nmr" => Some(format!("{} returned {}", get("function"), status_name(get("status")))),
        "callback" => Some(format!("NMR called {}", get("function"))),
        "trace" | "slow_wait" | "unload_waits" | "resident" => Some(without_time(event)),
        "missing" => Some(format!(
            "imports {} of {}, which this Wine does not have: a call of it is a bug check",
            get("function"),
            get("dll")
        )),
        "leak" => {
            Some(format!("leaks {} blocks of {} bytes with tag {}", get("allocations"), get("bytes"), get("tag")))
        }
        "left" => Some(format!("leaves a {} of {} at {}", get("kind"), get("function"), get("offset"))),
        "unload" => Some(format!("is unloaded; it has freed {} pool allocations", event.number("freed"))),
        "bugcheck" => Some(format!("BUG CHECK {}: {}", get("code"), get("why"))),
        _ => None,
    }
}

/// Name and properties of an event.
fn without_time(event: &Event) -> String {
    event.properties.iter().fold(event.name.clone(), |text, (key, value)| match key.as_str() {
        "text" => format!("{text}: {value}"),
        _ => format!("{text} {key}={value}"),
    })
}

fn status_name(status: &str) -> &str {
    match status {
        "0x00000000" => "STATUS_SUCCESS",
        "0x00000103" => "STATUS_PENDING",
        "0xc00002b9" => "STATUS_NOINTERFACE",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_with_what_it_is_about() {
        for (line, expected) in [
            ("1 a debug text=\"hello\"", "prints: hello"),
            ("1 a nmr function=NmrRegisterClient status=0xc00002b9", "NmrRegisterClient returned STATUS_NOINTERFACE"),
            ("1 a leak tag=abcd allocations=2 bytes=64", "leaks 2 blocks of 64 bytes with tag abcd"),
            ("1 a slow_wait text=\"for b\"", "slow_wait: for b"),
            ("1 a unload_waits handles=1", "unload_waits handles=1"),
        ] {
            assert_eq!(told(&Event::parse(line).unwrap()).as_deref(), Some(expected));
        }
        assert_eq!(told(&Event::parse("1 a load base=1").unwrap()), None);
    }
}

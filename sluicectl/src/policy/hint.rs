//! What was probably meant.

/// How many edits a word may be away from what was meant, by its length.
fn most_edits(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    }
}

/// The candidate that is nearest to `word`, if any is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let most = most_edits(word.chars().count());
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `message`, with the candidate that is nearest to `word` if any is near.
pub(super) fn unknown<'a>(message: &str, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, candidates) {
        Some(candidate) => format!("{message}; did you mean \"{candidate}\"?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_near_words_are_suggested() {
        let words = ["source", "source_port", "destination", "udp", "tcp", "gre"];
        for (word, expected) in [
            ("soruce", Some("source")),
            ("destinatoin", Some("destination")),
            ("TPC", Some("tcp")),
            ("sourceport", Some("source_port")),
            ("port", None),
            ("up", None),
            ("xyz", None),
            // Two edits away, in five letters and in six.
            ("tcpxy", None),
            ("udpip", None),
            ("sourxx", Some("source")),
            ("souxxx", None),
            ("gr", None),
            ("gree", Some("gre")),
            ("grxe", Some("gre")),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
    }
}

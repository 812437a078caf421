//! The syntax of INF files.

/// An INF file, taken apart. Names are as written and compared without case.
pub(super) struct Inf {
    pub(super) sections: Vec<Section>,
}

pub(super) struct Section {
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

/// `key = value, value`, or `value, value` without a key.
pub(super) struct Line {
    pub(super) key: String,
    pub(super) values: Vec<String>,
}

impl Inf {
    pub(super) fn parse(text: &str) -> Self {
        let mut inf = Self { sections: Vec::new() };
        // The section that lines belong to.
        let mut current = None;
        let mut continued = String::new();
        for line in text.lines() {
            let line = without_comment(line);
            if let Some(start) = line.strip_suffix('\\') {
                continued.push_str(start);
                continue;
            }
            let line = std::mem::take(&mut continued) + line;
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                current = Some(inf.index_of(name.trim()));
            } else if let Some(index) = current.filter(|_| !line.is_empty()) {
                inf.sections[index].lines.push(Line::parse(&line));
            }
        }
        inf
    }

    /// Where the section `name` is. It may be written in parts, which count as one.
    fn index_of(&mut self, name: &str) -> usize {
        self.sections.iter().position(|section| section.name.eq_ignore_ascii_case(name)).unwrap_or_else(|| {
            self.sections.push(Section { name: name.to_owned(), lines: Vec::new() });
            self.sections.len() - 1
        })
    }

    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name.eq_ignore_ascii_case(name.trim()))
    }
}

impl Section {
    /// The first value of the line `key`.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.lines_of(key).next().and_then(|line| line.values.first()).map(String::as_str)
    }

    pub(super) fn lines_of(&self, key: &str) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.key.eq_ignore_ascii_case(key))
    }
}

impl Line {
    fn parse(line: &str) -> Self {
        let (key, rest) = split_outside_quotes(line, '=').map_or(("", line), |(key, rest)| (key.trim(), rest));
        let mut values = Vec::new();
        let mut rest = Some(rest);
        while let Some(text) = rest {
            let (value, next) = match split_outside_quotes(text, ',') {
                Some((value, next)) => (value, Some(next)),
                None => (text, None),
            };
            values.push(value.trim().trim_matches('"').to_owned());
            rest = next;
        }
        Self { key: key.to_owned(), values }
    }
}

fn split_outside_quotes(text: &str, separator: char) -> Option<(&str, &str)> {
    let mut quoted = false;
    let (at, _) = text.char_indices().find(|(_, character)| {
        quoted ^= *character == '"';
        *character == separator && !quoted
    })?;
    Some((&text[..at], &text[at + separator.len_utf8()..]))
}

pub(super) fn without_comment(line: &str) -> &str {
    split_outside_quotes(line, ';').map_or(line, |(line, _)| line).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_comments_continued_lines_and_sections_in_parts_are_read() {
        let text = "lost\n[A] ; comment\nkey = \"a;b,c=d\", \\\n  second ; comment\nplain\n[B]\nb\n[a]\nmore = 1\n";
        let inf = Inf::parse(text);
        let section = inf.section("A").unwrap();
        assert_eq!(section.lines.len(), 3, "a section in two parts is one");
        assert_eq!(section.lines[0].values, ["a;b,c=d", "second"]);
        assert_eq!((section.lines[1].key.as_str(), &section.lines[1].values[..]), ("", &["plain".to_owned()][..]));
        assert_eq!(section.value("MORE"), Some("1"));
        assert_eq!(inf.section("b").unwrap().lines.len(), 1);
    }
}

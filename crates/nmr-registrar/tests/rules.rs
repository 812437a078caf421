//! docs/nmr-rules.md: what is cited is there, what is there is tested, and no link of it is dead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// R1 to R74.
const RULES: usize = 74;
/// M1 to M28.
const MISTAKES: usize = 28;
/// Rules that no test of the registrar can be about.
const NOT_FOR_THE_REGISTRAR: [(&str, &str); 1] = [(
    "r72",
    "whether there is a DriverUnload routine is the driver's affair, so real drivers are unloaded to test it",
)];

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The repository, unless this package has been taken out of it.
fn repository() -> Option<&'static Path> {
    let root = package().ancestors().nth(2)?;
    root.join("docs/nmr-rules.md").is_file().then_some(root)
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn rules() -> String {
    let file = repository().map_or_else(|| package().join("docs/nmr-rules.md"), |root| root.join("docs/nmr-rules.md"));
    read(&file)
}

/// What follows each `before` in `text`, up to the next `after`.
fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split_once(after).map(|(found, _)| found))
}

/// What a link to a page can name behind `#`: its headings and the anchors in its text.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let headings = text.lines().filter(|line| line.starts_with('#')).map(heading);
    headings.chain(between(text, "<a id=\"", "\"").map(str::to_owned)).collect()
}

/// The source files and pages below a folder.
fn texts(folder: &Path, found: &mut Vec<PathBuf>) {
    const SKIPPED: [&str; 6] = ["target", "fixtures", "corpus", "data", "node_modules", "artifacts"];
    const READ: [&str; 10] = ["rs", "md", "c", "cpp", "h", "hpp", "toml", "yml", "inx", "ps1"];
    for entry in fs::read_dir(folder).expect("a folder that can be read") {
        let path = entry.expect("an entry that can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_symlink() || name.starts_with('.') && name != ".github" || SKIPPED.contains(&name.as_ref()) {
            continue;
        }
        if path.is_dir() {
            texts(&path, found);
        } else if path.extension().is_some_and(|extension| READ.iter().any(|read| extension == *read)) {
            found.push(path);
        }
    }
}

/// The numbers of `letter` and a number, where they stand as a word.
fn citations(text: &str, letter: char) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter_map(move |word| word.strip_prefix(letter))
        .filter(|number| !number.is_empty() && number.len() <= 3 && number.bytes().all(|digit| digit.is_ascii_digit()))
}

#[test]
fn every_rule_stands_once_and_says_how_sure_it_is() {
    let text = rules();
    let paragraphs: Vec<&str> = text.split("\n\n").filter(|paragraph| paragraph.starts_with("<a id=\"r")).collect();
    let begins: Vec<String> = (1..=RULES).map(|rule| format!("<a id=\"r{rule}\"></a>**R{rule}.** ")).collect();
    assert_eq!(paragraphs.len(), begins.len());
    for (paragraph, begin) in paragraphs.iter().zip(&begins) {
        assert!(paragraph.starts_with(begin), "{begin} does not begin {paragraph}");
        let text = paragraph.to_lowercase();
        let levels = ["documented", "implied", "observed"];
        assert!(levels.iter().any(|level| text.contains(level)), "nothing says how sure this is: {paragraph}");
        let sources = ["]", "r65", "crash"];
        assert!(sources.iter().any(|source| text.contains(source)), "this has no source: {paragraph}");
        if text.contains("undocumented") && !text.contains("observed") {
            assert!(text.contains("registrar:"), "nothing says what the registrar does: {paragraph}");
        }
    }
}

#[test]
fn every_rule_and_mistake_that_is_cited_exists() {
    let mut files = Vec::new();
    texts(repository().unwrap_or(package()), &mut files);
    assert!(files.len() > 20, "{} files are too few", files.len());
    let mut unknown = Vec::new();
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file).expect("a file that can be read")).into_owned();
        for (letter, last) in [('R', RULES), ('M', MISTAKES)] {
            let is_unknown = |number: &&str| !number.parse().is_ok_and(|number| (1..=last).contains(&number));
            let cited = citations(&text, letter).filter(is_unknown);
            unknown.extend(cited.map(|number| format!("{}: {letter}{number}", file.display())));
        }
    }
    assert!(unknown.is_empty(), "cited, but not in docs/nmr-rules.md or mistakes.md:\n{}", unknown.join("\n"));
}

/// The names of the tests in files: functions under `#[test]`, with or without other attributes between.
fn tests(files: &[PathBuf]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let mut is_test = false;
        for line in read(file).lines() {
            match line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
                Some((name, _)) if std::mem::take(&mut is_test) => _ = names.insert(name.to_owned()),
                _ => is_test = line == "#[test]" || is_test && line.starts_with("#["),
            }
        }
    }
    names
}

#[test]
fn every_rule_has_a_test_of_its_name() {
    let without = |names: BTreeSet<String>| {
        let is_tested = move |rule: &String| names.iter().any(|name| name.split('_').next() == Some(rule));
        (1..=RULES).map(|rule| format!("r{rule}")).filter(move |rule| !is_tested(rule)).collect::<Vec<_>>()
    };
    let below = |folder: &Path| {
        let mut files = Vec::new();
        texts(folder, &mut files);
        tests(&files)
    };
    assert_eq!(without(below(&package().join("tests"))), NOT_FOR_THE_REGISTRAR.map(|(rule, _)| rule));
    if let Some(root) = repository() {
        assert_eq!(without(below(root)), [""; 0], "no test of the whole repository is named after it");
    }
}

/// The links of a page into itself and to other files: in brackets, or by a definition at its end.
fn targets(text: &str) -> BTreeSet<&str> {
    let definitions = text.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split_once("]: "));
    definitions.map(|(_, target)| target).chain(between(text, "](", ")")).collect()
}

#[test]
fn no_link_of_the_rules_and_mistakes_is_dead() {
    let text = rules();
    // Every key that is used has a page, and every page is used.
    let is_definition = |line: &&str| line.starts_with('[') && line.contains("]: ");
    let defined: BTreeSet<&str> = text.lines().filter(is_definition).flat_map(|line| between(line, "[", "]")).collect();
    let body: Vec<&str> = text.lines().filter(|line| !is_definition(line)).collect();
    let body = body.join("\n");
    let is_key = |key: &&str| key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-');
    let used: BTreeSet<&str> =
        between(&body, "[", "]").filter(is_key).filter(|key| !key.starts_with(['R', 'M'])).collect();
    assert_eq!(used, defined);
    // What it points to in itself is there.
    let own = anchors(&text);
    for anchor in targets(&text).into_iter().filter_map(|target| target.strip_prefix('#')) {
        assert!(own.contains(anchor), "docs/nmr-rules.md has no #{anchor}");
    }
    // So are the files of the repository that the two pages point to.
    let Some(root) = repository() else { return };
    for page in ["docs/nmr-rules.md", "crates/wdk-nmr/docs/mistakes.md"] {
        let page = root.join(page);
        let text = read(&page);
        let elsewhere =
            |target: &&str| !target.starts_with('#') && !target.contains("://") && !target.contains("crate::");
        let links: Vec<&str> = targets(&text).into_iter().filter(elsewhere).collect();
        assert!(!links.is_empty(), "{} has no links", page.display());
        for link in links {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let file = page.with_file_name(file);
            assert!(file.is_file(), "{}: there is no {link}", page.display());
            let found = anchor.is_none_or(|anchor| anchors(&read(&file)).contains(anchor));
            assert!(found, "{}: there is no {link}", page.display());
        }
    }
    let mistakes = anchors(&read(&root.join("crates/wdk-nmr/docs/mistakes.md")));
    assert_eq!(mistakes, (1..=MISTAKES).map(|mistake| format!("m{mistake}")).collect());
}

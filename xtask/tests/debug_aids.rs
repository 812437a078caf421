//! The files that help a debugger or a recorder on Windows name what is in the sources.

use std::collections::BTreeSet;
use std::fs;

use roxmltree::{Document, Node};
use sluice_rig::root;

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The words of a text that may be names.
fn words(text: &str) -> BTreeSet<&str> {
    let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_name).collect()
}

/// What is evaluated in an element: the text of an item or a pointer, a condition, what is in braces.
fn expressions(node: Node<'_, '_>) -> Vec<String> {
    let text = node.text().unwrap_or_default().to_owned();
    let mut found: Vec<String> = node.attribute("Condition").map(str::to_owned).into_iter().collect();
    if node.has_tag_name_local("DisplayString") {
        found.extend(text.split('{').skip(1).map(|part| part.split('}').next().unwrap().to_owned()));
    } else if ["Item", "HeadPointer", "NextPointer", "ValueNode"].iter().any(|name| node.has_tag_name_local(name)) {
        found.push(text);
    }
    found
}

trait LocalName {
    fn has_tag_name_local(&self, name: &str) -> bool;
}

impl LocalName for Node<'_, '_> {
    fn has_tag_name_local(&self, name: &str) -> bool {
        self.tag_name().name() == name
    }
}

/// A type, and the files in which it and further fields of it are declared.
type Shown = (&'static str, &'static [&'static str]);

const NATVIS: [(&str, &[Shown]); 2] = [
    (
        "crates/wdk-nmr/debug/wdk_nmr.natvis",
        &[
            ("wdk_nmr::header::RegistrationHeader", &["crates/wdk-nmr/src/header/mod.rs"]),
            ("wdk_nmr::header::ChunkHeader", &["crates/wdk-nmr/src/header/mod.rs"]),
            ("wdk_nmr::header::SlotHeader", &["crates/wdk-nmr/src/header/mod.rs"]),
        ],
    ),
    (
        "src/sluice.natvis",
        &[(
            "sluice_engine::policy::InstalledPolicy",
            &[
                "crates/sluice-engine/src/policy.rs",
                "crates/sluice-core/src/policy/mod.rs",
                "crates/sluice-core/src/policy/table.rs",
            ],
        )],
    ),
];

/// Of the expressions' own language.
const OF_C: [&str; 6] = ["void", "unsigned", "int", "__int64", "char", "this"];

#[test]
fn natvis_shows_types_and_fields_that_there_are() {
    for (file, types) in NATVIS {
        let text = read(file);
        let document = Document::parse(&text).unwrap();
        let shown: Vec<Node<'_, '_>> =
            document.root_element().children().filter(|node| node.has_tag_name_local("Type")).collect();
        let names: Vec<&str> = shown.iter().map(|node| node.attribute("Name").unwrap()).collect();
        assert_eq!(names, types.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{file}");
        for (node, (name, sources)) in shown.iter().zip(types) {
            let sources: Vec<String> = sources.iter().map(|source| read(source)).collect();
            let declaration = format!("struct {} {{", name.rsplit("::").next().unwrap());
            assert!(sources[0].contains(&declaration), "{file}: {name} is not in its file");
            let known: BTreeSet<&str> = sources.iter().flat_map(|source| words(source)).collect();
            let mut checked = 0;
            for expression in node.descendants().flat_map(expressions) {
                // Hexadecimal numbers and formats are no names; other types are named in full.
                let expression = expression.replace("wdk_nmr::header::", "").replace(",[3]x", "");
                for word in words(&expression).into_iter().filter(|word| !OF_C.contains(word)) {
                    assert!(known.contains(word), "{file}: {word} in {expression}");
                    checked += 1;
                }
            }
            assert!(checked >= 2, "{file}: {name}");
        }
    }
}

#[test]
fn the_recorder_asks_for_all_that_sluice_traces() {
    let text = read("src/sluice.wprp");
    let document = Document::parse(&text).unwrap();
    let element = |name: &str| document.descendants().find(|node| node.has_tag_name_local(name)).unwrap();
    let trace = read("src/trace.rs");
    let provider = element("EventProvider");
    assert!(trace.contains(provider.attribute("Name").unwrap()), "the identifier");
    let keywords: u64 = trace
        .lines()
        .filter_map(|line| line.split_once(": u64 = 1 << ").map(|(_, bit)| bit.trim_end_matches(';')))
        .map(|bit| 1 << bit.parse::<u32>().unwrap())
        .sum();
    assert!(keywords >= 0xf);
    let asked = element("Keyword").attribute("Value").unwrap().strip_prefix("0x").unwrap();
    assert_eq!(u64::from_str_radix(asked, 16).unwrap(), keywords);
    // The pages and the script ask for the same.
    for file in ["docs/tracing.md", "xtask/src/dist/verify-on-windows.ps1"] {
        assert!(read(file).contains(&format!("0x{keywords:x}")), "{file}");
    }
    // WPR wants identifiers of this form.
    for profile in document.descendants().filter(|node| node.has_tag_name_local("Profile")) {
        let part = |name: &str| profile.attribute(name).unwrap();
        assert_eq!(part("Id"), format!("{}.{}.{}", part("Name"), part("DetailLevel"), part("LoggingMode")));
    }
}

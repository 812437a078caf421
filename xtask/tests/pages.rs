//! Pages that say where things are: what they name exists, and a crate depends on what docs/architecture.md says.

#[path = "../src/figures.rs"]
#[allow(dead_code, unreachable_pub, reason = "the source of the tool; these tests use a part of it")]
mod figures;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use figures::Figures;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::Value;
use sluice_rig::root;

/// The pages on which every file that is named has to exist.
const MAPS: [&str; 2] = ["docs/architecture.md", "docs/recipes.md"];

/// What a path on these pages may end with. `.sys`, `.exe` and the like are built.
const EXTENSIONS: [&str; 11] = [".rs", ".md", ".toml", ".h", ".c", ".inx", ".json", ".txt", ".yml", ".ps1", ".vcxproj"];

fn output(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The files of the repository with one of these extensions, new ones too.
fn files(patterns: &[&str]) -> Vec<String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "--"]).args(patterns);
    let mut found: Vec<String> = output(&mut git).lines().map(str::to_owned).collect();
    // Not what was deleted or moved and not yet added, nor links to files that are listed themselves.
    found.retain(|file| root().join(file).is_file() && !root().join(file).is_symlink());
    found.sort();
    found.dedup();
    found
}

/// What a page says, as far as it concerns other files.
#[derive(Default)]
struct Page {
    /// Where its links lead.
    links: Vec<String>,
    /// What a link to it may name behind `#`.
    anchors: BTreeSet<String>,
    /// What is set in code within text, block after block.
    codes: Vec<String>,
    /// The same by rows and cells of its tables, without the rows of headings.
    rows: Vec<Vec<Vec<String>>>,
}

impl Page {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let (mut in_head, mut in_cell) = (false, false);
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.add_anchor(&heading.take().unwrap()),
                Event::Start(Tag::TableHead) => in_head = true,
                Event::End(TagEnd::TableHead) => in_head = false,
                Event::Start(Tag::TableRow) => page.rows.push(Vec::new()),
                Event::Start(Tag::TableCell) if !in_head => {
                    in_cell = true;
                    page.rows.last_mut().unwrap().push(Vec::new());
                }
                Event::End(TagEnd::TableCell) => in_cell = false,
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    if let Some(cell) = page.rows.last_mut().and_then(|row| row.last_mut()).filter(|_| in_cell) {
                        cell.push(code.to_string());
                    }
                    page.codes.push(code.into_string());
                }
                Event::Text(words) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                }
                Event::InlineHtml(html) => {
                    let anchor = html.strip_prefix("<a id=\"").and_then(|rest| rest.strip_suffix("\">"));
                    page.anchors.extend(anchor.map(str::to_owned));
                }
                _ => {}
            }
        }
        page
    }

    /// The anchor that GitHub gives a heading.
    fn add_anchor(&mut self, heading: &str) {
        let kept = heading
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .collect::<String>();
        let anchor = kept.replace(' ', "-");
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let free = [anchor.clone()].into_iter().chain(numbered).find(|anchor| !self.anchors.contains(anchor));
        self.anchors.extend(free);
    }
}

/// `to` as seen from the page `from`, from the root.
fn resolve(from: &str, to: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in Path::new(from).parent().unwrap().join(to).components() {
        match component {
            Component::ParentDir => assert!(path.pop(), "{from}: {to} leads out of the repository"),
            other => path.push(other),
        }
    }
    path
}

#[test]
fn every_link_leads_somewhere() {
    let pages: BTreeMap<String, Page> =
        files(&["*.md"]).into_iter().map(|path| (path.clone(), Page::read(&path))).collect();
    assert!(pages.len() > 15 && pages.values().map(|page| page.links.len()).sum::<usize>() > 60);
    let mut dead = Vec::new();
    for (path, page) in &pages {
        for link in &page.links {
            // rustdoc looks after the one, and nobody can look after the other without a network.
            if link.starts_with("crate::")
                || link.starts_with("crate#")
                || link.contains("://")
                || link.starts_with("mailto:")
            {
                continue;
            }
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { PathBuf::from(path) } else { resolve(path, file) };
            let has_anchor = anchor.is_none_or(|anchor| {
                pages.get(target.to_str().unwrap()).is_some_and(|page| page.anchors.contains(anchor))
            });
            if !root().join(&target).exists() || !has_anchor {
                dead.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere: {dead:#?}");
}

/// Whether what is set in code is a path of the repository. NAME in it stands for what the reader is about to add.
fn is_path(code: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    code.chars().all(is_name) && (EXTENSIONS.iter().any(|extension| code.ends_with(extension)) || code.ends_with('/'))
}

#[test]
fn every_file_that_the_maps_name_exists() {
    let mut missing = Vec::new();
    for map in MAPS {
        let page = Page::read(map);
        let paths: Vec<&String> = page.codes.iter().filter(|code| is_path(code)).collect();
        assert!(paths.len() > 30, "{map} names {} files", paths.len());
        for path in paths {
            let path = Path::new(path);
            let is_new = path.to_str().unwrap().contains("NAME");
            let there = root().join(if is_new { path.parent().unwrap() } else { path });
            if !there.exists() {
                missing.push(format!("{map}: {}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "files that are named and do not exist: {missing:#?}");
}

/// A row whose first cell names a file says in the second what is in it.
#[test]
fn what_the_maps_find_in_a_file_is_in_it() {
    let mut rows = 0;
    let mut missing = Vec::new();
    for map in MAPS {
        for row in Page::read(map).rows {
            let [file, names, ..] = row.as_slice() else { continue };
            let [file] = file.as_slice() else { continue };
            let Ok(text) = fs::read_to_string(root().join(file)) else { continue };
            rows += 1;
            let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            for name in names.iter().filter(|name| !is_path(name)) {
                // `Policy::new` is two words of the file, `Driver` and `<S>` are one.
                let mut parts = name.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|part| !part.is_empty());
                if !parts.all(|part| words.contains(part)) {
                    missing.push(format!("{map}: {name} in {file}"));
                }
            }
        }
    }
    assert!(rows > 25, "{rows} rows");
    assert!(missing.is_empty(), "not where the map says: {missing:#?}");
}

/// A package of the workspace.
struct Package {
    name: String,
    /// Its folder, from the root; empty for the root's own package.
    folder: String,
    /// The packages of the workspace that it and its build script use.
    uses: BTreeSet<String>,
    /// Those that only its tests use.
    tests_use: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let text = output(Command::new(env!("CARGO")).args(["metadata", "--no-deps", "--format-version", "1"]));
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let list = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = list.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let read = |package: &Value| {
        let name = package["name"].as_str().unwrap();
        let of = |is_test: bool| -> BTreeSet<String> {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let chosen = dependencies.filter(|dependency| (dependency["kind"] == "dev") == is_test);
            let names = chosen.map(|dependency| dependency["name"].as_str().unwrap());
            names.filter(|used| ours.contains(used) && *used != name).map(str::to_owned).collect()
        };
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let (uses, mut tests_use) = (of(false), of(true));
        tests_use.retain(|used| !uses.contains(used));
        Package { name: name.to_owned(), folder, uses, tests_use }
    };
    list.iter().map(read).collect()
}

/// The table of crates has a row for each: name, what it is, what it uses, what only its tests use; and whatever a
/// crate uses is above it.
#[test]
fn the_map_has_every_crate_and_what_it_depends_on() {
    let page = Page::read(MAPS[0]);
    let packages = packages();
    assert!(packages.len() > 15);
    let mut wrong = Vec::new();
    for package in &packages {
        let mut rows = page.rows.iter().filter(|row| row.len() == 4 && row[0].first() == Some(&package.name));
        let (Some(row), None) = (rows.next(), rows.next()) else {
            wrong.push(format!("{} has no row of its own", package.name));
            continue;
        };
        let above: BTreeSet<&String> =
            page.rows.iter().take_while(|other| *other != row).filter_map(|row| row[0].first()).collect();
        wrong.extend(
            package
                .uses
                .iter()
                .filter(|used| !above.contains(used))
                .map(|used| format!("{used} is not above {}", package.name)),
        );
        for (said, is, what) in [(&row[2], &package.uses, "uses"), (&row[3], &package.tests_use, "uses in tests")] {
            let said: BTreeSet<String> = said.iter().cloned().collect();
            wrong.extend(
                is.difference(&said).map(|used| format!("{} {what} {used}, and the map does not say so", package.name)),
            );
            wrong.extend(said.difference(is).map(|used| format!("{} no longer {what} {used}", package.name)));
        }
    }
    assert!(wrong.is_empty(), "docs/architecture.md: {wrong:#?}");
}

/// Whether a package or file of a folder stands for Windows or builds the rest: what the product must not know.
fn is_behind_the_product(folder: &str) -> bool {
    ["cargo-wdk-linux", "rig", "xtask", "tests"]
        .iter()
        .any(|top| folder == *top || folder.starts_with(&format!("{top}/")))
}

#[test]
fn no_product_crate_depends_on_the_rig_or_the_tools() {
    let packages = packages();
    let folders: BTreeMap<&str, &str> = packages.iter().map(|package| (&*package.name, &*package.folder)).collect();
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| !is_behind_the_product(&package.folder)) {
        for used in package.uses.iter().chain(&package.tests_use) {
            if is_behind_the_product(folders[used.as_str()]) {
                wrong.push(format!("{} -> {used}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What others get for drivers of their own has nothing of Sluice in it, nor of its tests.
#[test]
fn the_tool_for_drivers_of_others_depends_on_nothing_of_sluice() {
    let packages = packages();
    let tool = packages.iter().find(|package| package.name == "cargo-wdk-linux").unwrap();
    let uses: Vec<&str> = tool.uses.iter().chain(&tool.tests_use).map(String::as_str).collect();
    assert_eq!(uses, ["driver-check", "wdk-rig"]);
}

/// Paths too: a header that a test includes, a file that a build script reads.
#[test]
fn no_product_source_names_a_file_of_the_rig_or_the_tools() {
    let patterns = ["*.rs", "*.c", "*.h", "*.rc", "*.vcxproj", "*.inx", "*/Cargo.toml"];
    let sources: Vec<String> = files(&patterns).into_iter().filter(|file| !is_behind_the_product(file)).collect();
    assert!(sources.len() > 150, "{} sources", sources.len());
    let mut wrong = Vec::new();
    for source in &sources {
        let text = fs::read_to_string(root().join(source)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let is_comment = ["//", "#", "*", "/*"].iter().any(|start| line.trim_start().starts_with(start));
            let words = line.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.' | '/' | '\\'));
            let names_it = |word: &str| word.split(['/', '\\']).any(|part| part == "rig" || part == "xtask");
            // `#include "..."` is no comment of C.
            let is_comment = is_comment && !line.contains("include");
            let quoted = line.split('"').skip(1).step_by(2).any(|text| text == "rig" || text == "xtask");
            let in_path = words.into_iter().any(|word| word.contains(['/', '\\']) && names_it(word));
            if !is_comment && (quoted || in_path) {
                wrong.push(format!("{source}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Commands of xtask that pages and comments of Markdown name.
#[test]
fn every_command_of_xtask_that_a_page_names_exists() {
    let main = fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
    // `CheckImage(..)` is `check-image`.
    let commands: BTreeSet<String> = main
        .split_once("enum Command {")
        .unwrap()
        .1
        .split("\n}")
        .next()
        .unwrap()
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(char::is_uppercase))
        .map(|line| {
            let name = line.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            name.chars().fold(String::new(), |mut name, c| {
                if c.is_uppercase() && !name.is_empty() {
                    name.push('-');
                }
                name.extend(c.to_lowercase());
                name
            })
        })
        .collect();
    assert!(commands.contains("check-image") && commands.len() > 10, "{commands:?}");
    let mut named = 0;
    let mut wrong = Vec::new();
    for page in files(&["*.md"]) {
        let text = fs::read_to_string(root().join(&page)).unwrap().replace('\n', " ");
        for rest in text.split("cargo xtask ").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            if !name.starts_with(char::is_lowercase) {
                continue;
            }
            named += 1;
            if !commands.contains(&name) {
                wrong.push(format!("{page}: cargo xtask {name}"));
            }
        }
    }
    assert!(named > 20);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Nothing but this asks for the last steps of the recipe.
#[test]
fn every_control_code_is_described_and_sent_at_random() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let code = read("crates/sluice-control/src/code.rs");
    let codes: Vec<&str> = code
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": u32 = ctl_code").map(|(name, _)| name))
        .collect();
    assert!(codes.len() >= 6);
    for file in ["docs/control.md", "rig/hostile/src/request.rs", "crates/sluice-engine/tests/engine/fuzzed.rs"] {
        let text = read(file);
        let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let missing: Vec<&&str> = codes.iter().filter(|code| !words.contains(**code)).collect();
        assert!(missing.is_empty(), "{file}: {missing:?}");
    }
}

#[test]
fn every_event_is_described() {
    let trace = fs::read_to_string(root().join("src/trace.rs")).unwrap();
    // The name is the second argument.
    let written: BTreeSet<&str> =
        trace.split("write_event!(").skip(1).map(|event| event.split('"').nth(1).unwrap()).collect();
    assert!(written.len() >= 10, "{written:?}");
    let described: BTreeSet<String> =
        Page::read("docs/tracing.md").rows.iter().filter_map(|row| row.first()?.first().cloned()).collect();
    let missing: Vec<_> = written.iter().filter(|event| !described.contains(**event)).collect();
    assert!(missing.is_empty(), "docs/tracing.md: {missing:?}");
}

/// Who edits one of the two runs `cargo xtask bench --pages` afterwards.
#[test]
fn the_tables_of_figures_are_those_of_the_file() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let figures = Figures::read(&read("docs/figures.txt")).unwrap();
    let page = read("docs/performance.md");
    assert!(
        figures.fill(&page).unwrap() == page,
        "`cargo xtask bench --pages` makes the tables of performance.md anew"
    );
    assert_eq!(Figures::read(&figures.to_string()), Ok(figures));
}

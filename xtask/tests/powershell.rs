//! What is typed into PowerShell, or run by it: the commands of the pages, the scripts of the makefile and the
//! workflows, and the scripts of the release. There is no PowerShell here, so a parser of the language reads them; what
//! PowerShell would take for something else than its author meant is found too.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser as Markdown, Tag, TagEnd};
use sluice_rig::root;
use tree_sitter::{Node, Parser};

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

fn files(pattern: &str) -> Vec<String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "--", pattern]).current_dir(root());
    let text = String::from_utf8(git.output().unwrap().stdout).unwrap();
    text.lines().filter(|file| root().join(file).is_file()).map(str::to_owned).collect()
}

/// The blocks of code of a page, with what is said of their language.
fn code_blocks(page: &str) -> Vec<(String, String)> {
    let text = read(page);
    let mut blocks = Vec::new();
    let mut block: Option<(String, String)> = None;
    for event in Markdown::new(&text) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                block = Some((language.to_string(), String::new()));
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => block = Some((String::new(), String::new())),
            Event::End(TagEnd::CodeBlock) => blocks.extend(block.take()),
            Event::Text(line) => {
                if let Some((_, code)) = &mut block {
                    code.push_str(&line);
                }
            }
            _ => {}
        }
    }
    blocks
}

/// The text between `'''` behind each place where the makefile chooses PowerShell.
fn makefile_scripts() -> Vec<String> {
    let makefile = read("Makefile.toml");
    let script = |part: &str| part.split_once("script = '''").unwrap().1.split_once("'''").unwrap().0.to_owned();
    makefile.split("script_runner = \"powershell\"").skip(1).map(script).collect()
}

/// The steps of a workflow that name PowerShell as their shell, with GitHub's expressions replaced by a word.
fn workflow_scripts(workflow: &str) -> Vec<String> {
    let text = read(workflow);
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut scripts = Vec::new();
    for step in text.split("\n      - ") {
        if !step.contains("shell: pwsh") && !step.contains("shell: powershell") {
            continue;
        }
        let mut lines = step.lines().skip_while(|line| !line.trim_start().starts_with("run: ")).peekable();
        let run = lines.next().unwrap_or_else(|| panic!("{workflow}: a step with a shell and nothing to run: {step}"));
        let mut script = run.trim_start().trim_start_matches("run: ").trim_start_matches('|').to_owned();
        for line in lines.take_while(|line| line.trim().is_empty() || indent(line) > indent(run)) {
            script.push('\n');
            script.push_str(line);
        }
        let mut parts = script.split("${{");
        let first = parts.next().unwrap_or_default().to_owned();
        scripts.push(parts.fold(first, |text, part| text + "expression" + part.split_once("}}").unwrap().1));
    }
    scripts
}

/// What is set in code within the text of a page and is a command for Windows.
fn commands(page: &str) -> Vec<String> {
    let text = read(page);
    let codes = Markdown::new_ext(&text, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Code(code) => Some(code.into_string()),
        _ => None,
    });
    codes.filter(|code| code.contains(' ') && is_for_windows(code)).collect()
}

/// Whether a line starts with a program of Windows, a path of it, or a cmdlet.
fn is_for_windows(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    let is_cmdlet = first.split_once('-').is_some_and(|(verb, noun)| {
        [verb, noun].iter().all(|part| {
            part.starts_with(|c: char| c.is_ascii_uppercase()) && part.chars().all(|c| c.is_ascii_alphanumeric())
        })
    });
    WINDOWS_PROGRAMS.contains(&first) || first.starts_with(".\\") || is_cmdlet
}

/// Everything, with where it is from.
fn scripts() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for page in files("*.md") {
        let blocks = code_blocks(&page).into_iter().filter(|(language, _)| language == "powershell");
        all.extend(blocks.map(|(_, code)| (page.clone(), code)));
        all.extend(commands(&page).into_iter().map(|code| (page.clone(), code)));
    }
    all.extend(makefile_scripts().into_iter().map(|script| ("Makefile.toml".to_owned(), script)));
    for workflow in files(".github/workflows/*.yml") {
        all.extend(workflow_scripts(&workflow).into_iter().map(|script| (workflow.clone(), script)));
    }
    all.extend(files("*.ps1").into_iter().map(|file| (file.clone(), read(&file))));
    all
}

fn tree_of(script: &str) -> tree_sitter::Tree {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    parser.parse(script, None).unwrap()
}

/// Calls `visit` with a node and everything below it.
fn walk<'t>(node: Node<'t>, visit: &mut impl FnMut(Node<'t>)) {
    visit(node);
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        walk(child, visit);
    }
}

/// What PowerShell would make of `script` that nobody meant.
fn findings(script: &str) -> Vec<String> {
    let script = &format!("{}\n", script.trim_end());
    let tree = tree_of(script);
    let mut found = Vec::new();
    walk(tree.root_node(), &mut |node| {
        let text = &script[node.byte_range()];
        if node.is_error() || node.is_missing() {
            let line = script.lines().nth(node.start_position().row).unwrap_or_default();
            found.push(format!("does not parse: {}", line.trim()));
        }
        if node.kind() != "command" {
            return;
        }
        let name = node.child_by_field_name("command_name").or_else(|| node.named_child(0)).unwrap();
        let name = &script[name.byte_range()];
        // Windows PowerShell's alias of Set-Content: it would write a file.
        if name == "sc" {
            found.push(format!("sc is Set-Content here, sc.exe is meant: {text}"));
        }
        // A cmdlet has a verb and a noun; the rest are programs, whose arguments are text.
        let is_program = !name.contains('-') && !matches!(name, "foreach" | "where");
        walk(node, &mut |part| {
            let words = &script[part.byte_range()];
            if is_program && part.kind() == "script_block_expression" {
                found.push(format!("a block of script in the place of a text, which needs quotes: {text}"));
            }
            // Between words a comma makes a list, whose items are arguments of their own.
            let is_list = part.kind() == "," || part.kind() == "generic_token" && words.contains(',');
            if is_program && is_list {
                found.push(format!("a comma takes this apart, which needs quotes: {text}"));
            }
            let is_text = matches!(part.kind(), "generic_token" | "command_argument" | "expandable_string_literal");
            if is_text && words.split('%').nth(1).is_some_and(|name| !name.is_empty() && words.matches('%').count() > 1)
            {
                found.push(format!("the variable of another shell, $env: here: {text}"));
            }
        });
    });
    found
}

#[test]
fn everything_for_powershell_parses_and_means_what_it_says() {
    let scripts = scripts();
    assert!(scripts.len() > 20, "{} scripts", scripts.len());
    let say = |(file, script): &(String, String)| -> Vec<String> {
        findings(script).iter().map(|finding| format!("{file}: {finding}")).collect()
    };
    let wrong: Vec<String> = scripts.iter().flat_map(say).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The parser and the checks see what they are for.
#[test]
fn what_is_wrong_is_found() {
    for (script, finding) in [
        ("logman create trace sluice -p {c320867d-d802-5654-3eb1-25584902deba} -ets", "needs quotes"),
        ("tracerpt %TEMP%\\sluice.etl -of XML", "another shell"),
        ("sc start sluice", "Set-Content"),
        ("inf2cat /driver:. /os:10_VB_X64,10_CO_X64", "needs quotes"),
        ("if ($true) { 'open'", "does not parse"),
        ("foreach ($a in 1, 2) { $a", "does not parse"),
        ("$x = 'no end", "does not parse"),
    ] {
        let found = findings(script);
        assert!(found.iter().any(|text| text.contains(finding)), "{script}: {found:?}");
    }
    for script in [
        "logman create trace sluice -p '{c320867d-d802-5654-3eb1-25584902deba}' -o \"$env:TEMP\\sluice.etl\" -ets",
        "Get-ChildItem | Where-Object { $_.Name -eq 'sluice.sys' } | ForEach-Object { $_.FullName }",
        "inf2cat /driver:. '/os:10_VB_X64,10_CO_X64'",
        "Copy-Item a.sys, b.sys C:\\sluice",
        "sc.exe create sluice type= kernel start= demand group= NDIS binPath= C:\\sluice\\sluice.sys",
    ] {
        assert_eq!(findings(script), Vec::<String>::new(), "{script}");
    }
}

/// Programs that are typed on Windows alone.
const WINDOWS_PROGRAMS: [&str; 16] = [
    "sc.exe", "bcdedit", "reg", "logman", "tracerpt", "verifier", "certutil", "pnputil", "shutdown", "icacls",
    "winget", "inf2cat", "signtool", "msbuild", "wpr", "tracelog",
];

/// A block that is not marked is not checked, so none is left out.
#[test]
fn commands_of_windows_are_marked_as_powershell() {
    let mut unmarked = Vec::new();
    for page in files("*.md") {
        for (language, code) in code_blocks(&page) {
            if language != "powershell" && code.lines().any(is_for_windows) {
                unmarked.push(format!("{page}: {}", code.lines().next().unwrap_or_default()));
            }
        }
    }
    assert!(unmarked.is_empty(), "{unmarked:#?}");
}

/// The services that the INF files make.
fn services() -> BTreeSet<String> {
    let of = |file: &String| -> Vec<String> {
        let text = read(file);
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("AddService"));
        let name = |line: &str| line.trim_start_matches([' ', '=']).split(',').next().unwrap().trim().to_owned();
        lines.map(name).collect()
    };
    let mut services: BTreeSet<String> = files("inf/*.inx").iter().flat_map(of).collect();
    assert_eq!(services.len(), 3);
    // It has no INF; sluicectl and the rig make its service.
    services.insert("probe-c".to_owned());
    services
}

/// Names of services in commands and in paths of the registry are those of the drivers.
#[test]
fn pages_and_scripts_name_the_services_that_there_are() {
    let services = services();
    let mut named = 0;
    let mut wrong = Vec::new();
    let mut sources: Vec<(String, String)> =
        files("*.md").into_iter().map(|page| (page.clone(), read(&page))).collect();
    sources.extend(scripts());
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for (file, text) in &sources {
        let mut found: Vec<&str> = Vec::new();
        for verb in ["create", "start", "stop", "delete", "query", "queryex", "qc"] {
            found.extend(text.split(&format!("sc.exe {verb} ")).skip(1));
        }
        for key in ["\\Services\\", "\\services\\"] {
            found.extend(text.split(key).skip(1));
        }
        for rest in found {
            let name = rest.split(|c| !is_name(c)).next().unwrap();
            // A variable of a script, a place for the reader's own, or a service of Windows: firewall, event log.
            if matches!(name, "" | "NAME" | "my" | "SharedAccess" | "EventLog") {
                continue;
            }
            named += 1;
            if !services.contains(name) {
                wrong.push(format!("{file}: {name}"));
            }
        }
    }
    assert!(named > 15, "{named} names");
    assert!(wrong.is_empty(), "no such service: {wrong:#?}");
}

/// The values below `Parameters` that docs/control.md describes are those that the driver reads.
#[test]
fn the_settings_that_are_described_are_those_that_are_read() {
    let code = read("crates/sluice-control/src/settings.rs");
    // A value is a constant whose documentation gives its type.
    let mut is_value = false;
    let mut read_values = BTreeSet::new();
    for line in code.lines() {
        if line.starts_with("///") {
            is_value |= line.contains("REG_");
        } else if std::mem::take(&mut is_value) && line.starts_with("pub const ") {
            read_values.insert(line.split('"').nth(1).unwrap());
        }
    }
    let page = read("docs/control.md");
    let (_, settings) = page.split_once("## Settings").unwrap();
    let settings = settings.split("\n## ").next().unwrap();
    let described: BTreeSet<&str> =
        settings.lines().filter(|line| line.contains("| REG_")).map(|line| line.split('`').nth(1).unwrap()).collect();
    assert!(!described.is_empty());
    assert_eq!(described, read_values, "docs/control.md, Settings, and sluice-control's settings.rs");
}

/// The identifier of the provider follows from its name; the source of the driver states it, and the pages repeat it.
#[test]
fn the_identifier_of_the_trace_is_the_same_everywhere() {
    let guid = |text: &str| -> BTreeSet<String> {
        let is_guid = |word: &&str| word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words.filter(is_guid).map(str::to_ascii_lowercase).collect()
    };
    let stated = guid(&read("src/trace.rs"));
    assert_eq!(stated.len(), 1);
    let mut named = 0;
    for file in ["docs/tracing.md", "docs/test-vm.md"].into_iter().map(str::to_owned).chain(files("*.ps1")) {
        for given in guid(&read(&file)) {
            named += 1;
            assert!(stated.contains(&given), "{file}: {given}, and src/trace.rs says {stated:?}");
        }
    }
    assert!(named > 0);
}

/// The rule classes of Driver Verifier are the same by hand, by cargo make and by the script.
#[test]
fn driver_verifier_is_asked_for_the_same_everywhere() {
    let classes = |text: &str| -> BTreeSet<String> {
        let mut lists = BTreeSet::new();
        for option in ["/ruleclasses", "/rc"] {
            for rest in text.split(option).skip(1) {
                let end = rest.find(|c: char| !(c.is_ascii_digit() || " ,'\"".contains(c))).unwrap_or(rest.len());
                let numbers: Vec<&str> =
                    rest[..end].split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).collect();
                if !numbers.is_empty() {
                    lists.insert(numbers.join(" "));
                }
            }
        }
        lists
    };
    let page = classes(&read("docs/test-vm.md"));
    assert_eq!(page.len(), 3, "{page:?}");
    assert_eq!(classes(&read("Makefile.toml")), page);
    assert_eq!(classes(&read("xtask/src/dist/verify-on-windows.ps1")), page);
    // And for the same drivers, all that there are: the client in C is verified in the place of the one in Rust.
    let drivers = |text: &str| -> BTreeSet<String> {
        let lists = text.split("/driver").skip(1).map(|rest| rest.split(['\n', ']']).next().unwrap());
        let names = |list: &str| -> Vec<String> {
            let words = list.split(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c)));
            words.filter(|word| word.ends_with(".sys")).map(str::to_owned).collect()
        };
        lists.map(names).filter(|names| !names.is_empty()).map(|names| names.join(" ")).collect()
    };
    let mut all: BTreeSet<String> = services().iter().map(|service| format!("{service}.sys")).collect();
    all.remove("probe-c.sys");
    for file in ["docs/test-vm.md", "Makefile.toml"] {
        let lists = drivers(&read(file));
        let [list] = Vec::from_iter(&lists)[..] else { panic!("{file}: expected one list, found {lists:?}") };
        assert_eq!(list.split(' ').map(str::to_owned).collect::<BTreeSet<_>>(), all, "{file}");
    }
    assert!(read("xtask/src/dist/verify-on-windows.ps1").contains("$Drivers = @('sluice', $Client, 'gate')"));
    // The matrix of runs names them.
    let matrix = read("docs/windows.md");
    let standard = page.iter().find(|list| list.len() > 20 && !list.contains(" 3 ")).unwrap();
    assert!(matrix.contains(&format!("`{standard}`")) && matrix.contains("`33 36`"));
}

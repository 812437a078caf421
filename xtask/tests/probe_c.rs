//! What MSVC and code analysis ask of clients/probe-c beyond what clang warns of when `cargo xtask build` compiles it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sluice_rig::root;
use tree_sitter::{Node, Parser};

const FOLDER: &str = "clients/probe-c";
const CONTRACT: &str = "crates/sluice-npi/include/sluice_npi.h";

fn sources(extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(root().join(FOLDER)).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|found| found == extension)).collect()
}

/// Annotations are macros, which the grammar of C does not know: they are blanked out, with what they are given.
fn without_annotations(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some(at) = rest.find('_') {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        let word: String = from.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let behind = &from[word.len()..];
        let is_annotation = word.len() > 3
            && word.starts_with('_')
            && word.ends_with('_')
            && word.chars().nth(1).is_some_and(char::is_uppercase)
            && !before.ends_with(|c: char| c.is_ascii_alphanumeric());
        rest = match (is_annotation, behind.strip_prefix('(')) {
            (false, _) => {
                kept.push_str(&word);
                behind
            }
            (true, Some(arguments)) => arguments.split_once(')').unwrap().1,
            (true, None) => behind,
        };
    }
    kept + rest
}

fn children<'t>(node: Node<'t>) -> Vec<Node<'t>> {
    let mut cursor = node.walk();
    node.children(&mut cursor).collect()
}

/// The names that a declaration or definition declares.
fn declared(node: Node<'_>, text: &str, names: &mut Vec<String>) {
    let mut cursor = node.walk();
    for declarator in node.children_by_field_name("declarator", &mut cursor) {
        let mut inner = declarator;
        while let Some(next) = inner.child_by_field_name("declarator") {
            inner = next;
        }
        if inner.kind() == "identifier" {
            names.push(text[inner.byte_range()].to_owned());
        }
    }
}

/// The names at file scope, and of each function its parameters and variables.
fn names(text: &str) -> (Vec<String>, BTreeMap<String, Vec<String>>) {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_c::LANGUAGE.into()).unwrap();
    let tree = parser.parse(text, None).unwrap();
    let mut globals = Vec::new();
    let mut locals = BTreeMap::new();
    let mut files: Vec<Node<'_>> = vec![tree.root_node()];
    while let Some(scope) = files.pop() {
        for node in children(scope) {
            match node.kind() {
                "declaration" => declared(node, text, &mut globals),
                "function_definition" => {
                    let mut name = Vec::new();
                    declared(node, text, &mut name);
                    let mut inside = Vec::new();
                    let mut left = vec![node];
                    while let Some(node) = left.pop() {
                        if matches!(node.kind(), "parameter_declaration" | "declaration") {
                            declared(node, text, &mut inside);
                        }
                        left.extend(children(node));
                    }
                    globals.extend(name.first().cloned());
                    locals.insert(name.concat(), inside);
                }
                // The guard of a header.
                "preproc_ifdef" | "preproc_if" | "linkage_specification" | "declaration_list" => files.push(node),
                _ => {}
            }
        }
    }
    (globals, locals)
}

/// C4457 and C4459, which are errors at the project's level. clang's -Wshadow does not look at functions.
fn hidden(source: &str, headers: &[String]) -> Vec<String> {
    let source = without_annotations(source);
    let (own, locals) = names(&source);
    let shared = headers.iter().flat_map(|header| names(&without_annotations(header)).0);
    let globals: BTreeSet<String> = own.into_iter().chain(shared).collect();
    let in_function = |(function, names): (&String, &Vec<String>)| -> Vec<String> {
        names.iter().filter(|name| globals.contains(*name)).map(|name| format!("{name} in {function}")).collect()
    };
    locals.iter().flat_map(in_function).collect()
}

#[test]
fn no_parameter_or_variable_hides_a_global_name() {
    let read = |file: &Path| fs::read_to_string(file).unwrap();
    let mut headers: Vec<String> = sources("h").iter().map(|file| read(file)).collect();
    headers.push(read(&root().join(CONTRACT)));
    let files = sources("c");
    assert_eq!(files.len(), 3);
    let mut functions = 0;
    for file in files {
        let text = read(&file);
        functions += names(&without_annotations(&text)).1.len();
        let found = hidden(&text, &headers);
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
    assert!(functions > 15, "{functions} functions");
    // What the check is for.
    let text =
        "static int Status(void *Buffer) { return 0; }\nstatic int Complete(void *Irp, int Status) { return Status; }";
    assert_eq!(hidden(text, &[]), ["Status in Complete"]);
    let text =
        "_In_ static int Room;\nint List(_Out_writes_(Count) int *Places, int Count) { int Room = 1; return Room; }";
    assert_eq!(hidden(text, &[]), ["Room in List"]);
    assert_eq!(hidden("int A(int Device) { return Device; }", &["static int *Device;".to_owned()]), ["Device in A"]);
}

/// C28168 and C28169: a dispatch routine says for which requests it is.
#[test]
fn dispatch_routines_say_what_they_are_for() {
    let mut routines = 0;
    for file in sources("c") {
        let text = fs::read_to_string(&file).unwrap();
        for entry in text.split("MajorFunction[").skip(1) {
            let (major, rest) = entry.split_once("] = ").unwrap();
            let routine = rest.split(';').next().unwrap();
            let declaration = text.split_once(&format!("DRIVER_DISPATCH {routine};")).expect(routine).0;
            // From the end of what is declared before it.
            let annotations = declaration.rsplit([';', '}']).next().unwrap();
            assert!(annotations.contains(&format!("_Dispatch_type_({major})")), "{routine}: {annotations}");
            routines += 1;
        }
    }
    assert!(routines >= 4);
}

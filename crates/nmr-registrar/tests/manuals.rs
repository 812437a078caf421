//! What docs/registrar.md and docs/testing-nmr.md show is what tests compile and run.

use std::fs;
use std::path::Path;

#[test]
fn the_manuals_show_what_is_tested() {
    // In the repository the pages lie at its root.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = ["registrar.md", "testing-nmr.md"].map(|page| {
        let above = folder.join("../../docs").join(page);
        let page = if above.is_file() { above } else { folder.join("docs").join(page) };
        fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
    });
    // The examples of a language, and the files that tests compile and run.
    let kinds = [
        ("rust,ignore", 3, vec![include_str!("documentation.rs")]),
        ("c", 2, vec![include_str!("../examples/c/first.c"), include_str!("../examples/c/test.c")]),
        ("cpp", 1, vec![include_str!("../examples/cpp/test.cpp")]),
    ];
    for (language, expected, files) in kinds {
        let fence = format!("```{language}\n");
        let examples: Vec<&str> = pages
            .iter()
            .flat_map(|page| page.split(&fence).skip(1))
            .filter_map(|rest| rest.split_once("```").map(|(example, _)| example))
            .collect();
        assert_eq!(examples.len(), expected, "{language}");
        for example in examples {
            assert!(files.iter().any(|file| file.contains(example)), "no test runs this example:\n{example}");
        }
    }
}

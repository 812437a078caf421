//! Each driver allocates under a tag of its own, which docs/control.md states.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn each_driver_has_a_tag_of_its_own_that_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let page = read("docs/control.md");
    let mut tags = BTreeSet::new();
    for (driver, source) in
        [("sluice", "src/lib.rs"), ("probe", "clients/probe/src/lib.rs"), ("gate", "clients/gate/src/lib.rs")]
    {
        let text = read(source);
        let (_, rest) = text.split_once("NonPagedPool::with_tag(*b\"").expect(source);
        let (tag, _) = rest.split_once('"').unwrap();
        assert!(tag.len() == 4 && tags.insert(tag.to_owned()), "{tag}");
        assert!(page.contains(&format!("{driver}.sys under `{tag}`")), "docs/control.md, {driver}: {tag}");
    }
    // A multi-character constant of C, which lies in memory the other way round.
    assert!(read("clients/probe-c/probe.h").contains("PROBE_POOL_TAG 'cbrP'"));
    assert!(tags.insert("Prbc".to_owned()) && page.contains("probe-c.sys under `Prbc`"));
}

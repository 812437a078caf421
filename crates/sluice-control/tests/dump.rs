//! The data of a crash dump, and the page by which people read it.

use std::fs;
use std::mem::offset_of;
use std::path::Path;

use sluice_control::dump::{Dump, DumpBinding, ID, VERSION};
use sluice_control::message::Status;

#[test]
fn the_documentation_gives_the_offsets_of_the_dump_data() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/windows.md")).unwrap();
    let rows = [
        (offset_of!(Dump, magic), "8", "`SluiceDp`".to_owned()),
        (offset_of!(Dump, version), "4", format!("the version of this table, {VERSION}")),
        (offset_of!(Dump, missed_entries), "4", "how many entries of the System log are missing".to_owned()),
        (offset_of!(Dump, registration), "8", "the address of the registration block".to_owned()),
        (offset_of!(Dump, block), "40", "what the block begins with: `WdkNmrRg`".to_owned()),
        (offset_of!(Dump, status), "56", "the status".to_owned()),
        (
            size_of::<Dump>(),
            "40 each",
            "the bindings: module id of the client (20 bytes), state of the slot (4)".to_owned(),
        ),
    ];
    for (offset, bytes, what) in rows {
        let row = format!("| {offset} | {bytes} | {what}");
        assert!(page.contains(&row), "docs/windows.md has no row\n{row}");
    }
    assert_eq!((size_of::<Status>(), size_of::<DumpBinding>()), (56, 40));
    let hex = format!("{ID:032X}");
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    assert!(page.contains(&format!("{{{id}}}")), "docs/windows.md does not name {id}");
}

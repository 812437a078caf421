//! Loads the driver as a person would, and looks at what it did. `cargo wdk-linux test` runs it.

use wdk_rig::Rig;

#[test]
fn the_driver_starts_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let rig = Rig::boot("NAME")?;
    rig.install("NAME")?;
    rig.start("NAME")?;
    let left = rig.stop("NAME")?;
    assert!(left.is_nothing(), "{left}");
    assert_eq!(rig.printed("NAME")?, ["NAME: started", "NAME: stopped"]);
    Ok(())
}

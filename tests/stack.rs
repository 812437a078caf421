//! How much of its stack a driver takes, no run in Wine shows: there, stacks have megabytes. The image does.

use anyhow::Result;
use driver_check::image::{Expectations, check_file};
use sluice_rig::Arch;

#[test]
fn a_frame_that_is_too_large_for_a_kernel_stack_is_found_with_its_function() -> Result<()> {
    let expectations = Expectations { frame_limit: Some(1024), ..Expectations::default() };
    let findings = check_file(&Arch::chosen()?.rig().join("misfit.sys"), &expectations)?;
    let frame =
        findings.iter().map(ToString::to_string).find(|finding| finding.contains("bytes of stack in one frame"));
    let frame = frame.expect("the service `deep` has a function with a frame of 6,000 bytes");
    assert!(frame.contains("misfit::kernel::frame takes "), "{frame}");
    Ok(())
}

//! The user-mode tool of the Sluice driver.
fn main() {}

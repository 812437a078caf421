//! The one tool of this repository: setup, build, demo, test.
fn main() {}

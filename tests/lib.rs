//! System tests: see the `[[test]]` targets.

//! Packets to flows to verdicts: parser and policy of Sluice, no_std, safe, never panicking.

//! A refusal that NMR would take for success.

mod common;
use common::*;

fn main() {
    let _ = Refusal(0);
}

//! Placeholder.
fn main() {}
#[test]
fn t() {}

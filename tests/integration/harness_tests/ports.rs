//! Free ports of the harness.

use std::collections::BTreeSet;

use crate::harness::ports;

/// So many that some are drawn twice.
const COUNT: usize = 1000;

#[test]
fn free_ports_of_one_process_are_distinct() {
    let drawn: BTreeSet<_> = (0..COUNT).map(|_| ports::free()).collect();
    assert_eq!(drawn.len(), COUNT);
}

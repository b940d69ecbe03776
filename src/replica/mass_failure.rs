//! The alarm for many backends that fall silent at once: the cause is more likely the network or the server than the
//! machines, so none of their instances is moved ([ADR 0013](../../docs/adr/0013-silent-machines-get-nothing-new.md)).
//!
//! Only backends that hold instances count. Anybody may register backends, and those that hold nothing have nothing that
//! could be moved.

/// Fewer silent backends are never a mass failure: of two backends, one is half the fleet.
const MIN_SILENT: usize = 3;

/// Whether so many of the connected backends that hold instances are silent that they must not be marked lost.
pub const fn is_mass_failure(silent: usize, connected: usize) -> bool {
    silent >= MIN_SILENT && silent * 4 > connected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mass_failure_is_more_than_a_quarter_and_more_than_two() {
        assert!(!is_mass_failure(0, 0));
        assert!(!is_mass_failure(2, 2));
        assert!(!is_mass_failure(3, 12));
        assert!(is_mass_failure(3, 11));
    }
}

//! I14: all nodes have the same log.

use dockhost_domain::subject::BARRIER;

use super::{Invariant, Violations};
use crate::observation::Observation;

pub(super) fn check(observation: &Observation, violations: &mut Violations) {
    for copy in &observation.copies {
        // Barriers are no events; the stream keeps only the newest, and servers write them also while this is read.
        let mut node_entries = copy.entries.iter().filter(|(_, subject, _)| subject != BARRIER);
        for entry in observation.log.iter().filter(|entry| entry.subject != BARRIER) {
            match node_entries.next() {
                Some((sequence, subject, hash))
                    if (*sequence, subject, hash) == (entry.sequence, &entry.subject, &entry.hash) => {}
                Some((sequence, subject, _)) => {
                    let what = format!("node {} has another event at this sequence: {subject}", copy.node);
                    violations.add(Invariant::I14, what, [&entry.subject], [entry.sequence, *sequence]);
                    break;
                }
                None => {
                    let what = format!("node {} lacks this event and all later ones", copy.node);
                    violations.add(Invariant::I14, what, [&entry.subject], [entry.sequence]);
                    break;
                }
            }
        }
        if let Some((sequence, subject, _)) = node_entries.next() {
            violations.add(Invariant::I14, format!("only node {} has this event", copy.node), [subject], [*sequence]);
        }
    }
}

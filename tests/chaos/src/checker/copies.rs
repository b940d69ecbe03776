//! I14: all nodes hold the same log. In: each node's sequences, subjects and hashes. Out: where one differs.

use super::{Found, Invariant};
use crate::observation::Observation;

pub(super) fn check(observation: &Observation, found: &mut Found) {
    for copy in &observation.copies {
        let mut theirs = copy.entries.iter();
        for entry in &observation.log {
            match theirs.next() {
                Some((sequence, subject, hash))
                    if (*sequence, subject, hash) == (entry.sequence, &entry.subject, &entry.hash) => {}
                Some((sequence, subject, _)) => {
                    let what = format!("node {} has another event there: {subject}", copy.node);
                    found.add(Invariant::I14, what, [&entry.subject], [entry.sequence, *sequence]);
                    break;
                }
                None => {
                    let what = format!("node {} lacks it, and all after it", copy.node);
                    found.add(Invariant::I14, what, [&entry.subject], [entry.sequence]);
                    break;
                }
            }
        }
        if let Some((sequence, subject, _)) = theirs.next() {
            found.add(Invariant::I14, format!("node {} alone has it", copy.node), [subject], [*sequence]);
        }
    }
}

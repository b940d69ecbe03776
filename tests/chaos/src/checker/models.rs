//! I8 and I9: each document is the fold of its events up to its `seq` and is not behind the checkpoint, and `verify` found no
//! difference.

use std::collections::BTreeMap;

use dockhost_projections::digest::mismatches;
use dockhost_projections::model::Folded;
use dockhost_projections::registry::ModelVisitor;
use dockhost_projections::{Document, ReadModel, visit_selected};
use serde_json::Value;

use super::log::Log;
use super::{Invariant, Violations};
use crate::observation::{Model, Observation};

pub(super) fn check(observation: &Observation, log: &Log, violations: &mut Violations) {
    for model in &observation.models {
        if visit_selected(Some(&model.name), &mut Check { model, log, violations: &mut *violations }).is_empty() {
            violations.add(Invariant::I8, "unknown read model", [&model.name], []);
        }
        if model.incarnation != observation.incarnation {
            violations.add(Invariant::I8, "the read model was folded from another log", [&model.name], []);
        }
    }
    match &observation.verified {
        Some(verified) if verified.equal => {}
        Some(verified) => {
            violations.add(Invariant::I9, format!("verify reports a difference: {}", verified.output), [""; 0], []);
        }
        None => violations.add(Invariant::I9, "verify was not run", [""; 0], []),
    }
}

struct Check<'a> {
    model: &'a Model,
    log: &'a Log,
    violations: &'a mut Violations,
}

impl ModelVisitor for Check<'_> {
    type Output = ();

    fn visit<M: ReadModel>(&mut self) {
        check_model::<M>(self.model, self.log, self.violations);
    }
}

/// The fold of one document.
#[derive(Default)]
struct Expected {
    /// The sequence of its last event up to the checkpoint.
    at_checkpoint: Option<u64>,
    /// Its content at the stored document's `seq`.
    at_seq: Option<Value>,
}

fn check_model<M: ReadModel>(model: &Model, log: &Log, violations: &mut Violations) {
    let stored: BTreeMap<&str, &Value> =
        model.documents.iter().filter_map(|document| Some((document["_id"].as_str()?, document))).collect();
    let mut folded = Folded::<M>::default();
    let mut expected: BTreeMap<String, Expected> = BTreeMap::new();
    for logged in log.events.iter().filter(|logged| logged.recorded.envelope.aggregate.kind() == M::KIND) {
        for id in folded.fold(&logged.recorded) {
            let Some(document) = folded.get(id) else { continue };
            let entry = expected.entry(id.to_string()).or_default();
            if document.seq() <= model.checkpoint {
                entry.at_checkpoint = Some(document.seq());
            }
            if stored.get(id.to_string().as_str()).is_some_and(|stored| seq(stored) == document.seq()) {
                entry.at_seq = serde_json::to_value(document).ok();
            }
        }
    }
    let about = |id: &str| [format!("{} {id}", M::NAME)];
    for (id, expected) in &expected {
        match (stored.get(id.as_str()), expected.at_checkpoint) {
            (None, Some(at_checkpoint)) => {
                violations.add(Invariant::I8, "the document is missing", about(id), [at_checkpoint]);
            }
            (Some(stored), Some(at_checkpoint)) if seq(stored) < at_checkpoint => {
                let what = format!("the document is at {}, its model at {}", seq(stored), model.checkpoint);
                violations.add(Invariant::I8, what, about(id), [seq(stored), at_checkpoint]);
            }
            _ => {}
        }
    }
    for (id, stored) in stored {
        let at_seq = expected.get(id).and_then(|expected| expected.at_seq.as_ref());
        let Some(at_seq) = at_seq else {
            violations.add(
                Invariant::I8,
                "the document's seq is not the sequence of one of its events",
                about(id),
                [seq(stored)],
            );
            continue;
        };
        if let Some(first) = mismatches(at_seq, stored).first() {
            let what = format!("the document is not the fold of its events: {first}");
            violations.add(Invariant::I8, what, about(id), [seq(stored)]);
        }
    }
}

fn seq(document: &Value) -> u64 {
    document["seq"].as_u64().unwrap_or(0)
}

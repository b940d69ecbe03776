//! I8 and I9: the read models against the log. In: documents and checkpoints. Out: documents that are not the fold of
//! their events up to their own `seq`, that lack events which the checkpoint covers, or that no event speaks of; and
//! what `verify` found.

use std::collections::BTreeMap;

use dockhost_projections::digest::mismatches;
use dockhost_projections::model::Folded;
use dockhost_projections::registry::ModelVisitor;
use dockhost_projections::{Document, ReadModel, visit_selected};
use serde_json::Value;

use super::log::Log;
use super::{Found, Invariant};
use crate::observation::{Model, Observation};

pub(super) fn check(observation: &Observation, log: &Log, found: &mut Found) {
    for model in &observation.models {
        if visit_selected(Some(&model.name), &mut Check { model, log, found: &mut *found }).is_empty() {
            found.add(Invariant::I8, "an unknown read model", [&model.name], []);
        }
        if model.incarnation != observation.incarnation {
            found.add(Invariant::I8, "it was folded from another log", [&model.name], []);
        }
    }
    match &observation.verified {
        Some(verified) if verified.equal => {}
        Some(verified) => found.add(Invariant::I9, format!("verify says: {}", verified.said), [""; 0], []),
        None => found.add(Invariant::I9, "verify was never asked", [""; 0], []),
    }
}

struct Check<'a> {
    model: &'a Model,
    log: &'a Log,
    found: &'a mut Found,
}

impl ModelVisitor for Check<'_> {
    type Output = ();

    fn visit<M: ReadModel>(&mut self) {
        one::<M>(self.model, self.log, self.found);
    }
}

/// What the fold says of one document: at the end, as far as the checkpoint goes, and where its own `seq` is.
#[derive(Default)]
struct Said {
    due: Option<u64>,
    at_seq: Option<Value>,
}

fn one<M: ReadModel>(model: &Model, log: &Log, found: &mut Found) {
    let stored: BTreeMap<&str, &Value> =
        model.documents.iter().filter_map(|document| Some((document["_id"].as_str()?, document))).collect();
    let mut folded = Folded::<M>::default();
    let mut said: BTreeMap<String, Said> = BTreeMap::new();
    for logged in log.events.iter().filter(|logged| logged.recorded.envelope.aggregate.kind() == M::KIND) {
        for id in folded.fold(&logged.recorded) {
            let Some(document) = folded.get(id) else { continue };
            let entry = said.entry(id.to_string()).or_default();
            if document.seq() <= model.checkpoint {
                entry.due = Some(document.seq());
            }
            if stored.get(id.to_string().as_str()).is_some_and(|stored| seq(stored) == document.seq()) {
                entry.at_seq = serde_json::to_value(document).ok();
            }
        }
    }
    let about = |id: &str| [format!("{} {id}", M::NAME)];
    for (id, said) in &said {
        match (stored.get(id.as_str()), said.due) {
            (None, Some(due)) => found.add(Invariant::I8, "the document is missing", about(id), [due]),
            (Some(stored), Some(due)) if seq(stored) < due => {
                let what = format!("the document is at {}, and its model at {}", seq(stored), model.checkpoint);
                found.add(Invariant::I8, what, about(id), [seq(stored), due]);
            }
            _ => {}
        }
    }
    for (id, stored) in stored {
        let at_seq = said.get(id).and_then(|said| said.at_seq.as_ref());
        let Some(at_seq) = at_seq else {
            found.add(Invariant::I8, "no event of it is where the document says it is", about(id), [seq(stored)]);
            continue;
        };
        if let Some(first) = mismatches(at_seq, stored).first() {
            let what = format!("the document is not the fold of its events: {first}");
            found.add(Invariant::I8, what, about(id), [seq(stored)]);
        }
    }
}

fn seq(document: &Value) -> u64 {
    document["seq"].as_u64().unwrap_or(0)
}

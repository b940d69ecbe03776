//! The quarantined aggregates of all read models, and a retry of one in each model that lacks its events.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::log::History;
use crate::model::ReadModel;
use crate::projector::ProjectionError;
use crate::registry::ModelVisitor;
use crate::release::{Release, release};
use crate::store::{MongoStore, StoreError, Unreadable};
use crate::{read_checkpoints, visit_all};

/// An aggregate with an event that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its first such event.
    pub event: Unreadable,
    /// The models that lack its events from there on.
    pub models: Vec<&'static str>,
}

/// Groups events that can't be read by the subject of their aggregate. Each comes with the model that lacks it; with none if
/// only commands on the aggregate are refused.
pub fn by_subject(
    found: impl IntoIterator<Item = (Option<&'static str>, Unreadable)>,
) -> BTreeMap<String, Quarantined> {
    let mut all: BTreeMap<String, Quarantined> = BTreeMap::new();
    for (model, event) in found {
        let one = all
            .entry(event.subject.clone())
            .or_insert_with(|| Quarantined { event: event.clone(), models: Vec::new() });
        if event.sequence < one.event.sequence {
            one.event = event;
        }
        one.models.extend(model);
    }
    all
}

/// The quarantines in the checkpoints of all models, each with its model.
///
/// # Errors
/// [`StoreError`].
pub async fn quarantined_by_model(store: &MongoStore) -> Result<Vec<(&'static str, Unreadable)>, StoreError> {
    let mut found = Vec::new();
    for (model, checkpoint) in read_checkpoints(store).await? {
        let entries = checkpoint.iter().flat_map(|checkpoint| checkpoint.quarantine.entries().cloned());
        found.extend(entries.map(|event| (model.name, event)));
    }
    Ok(found)
}

/// The result of a retry in a model that had quarantined the aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The model.
    pub model: &'static str,
    /// The event that this program can't fold either; `None` if the aggregate is released.
    pub still: Option<Unreadable>,
}

/// Retries an aggregate in every model that quarantines it; empty if none does. As [`release`], it may run beside the
/// projectors and other retries, on any replica.
///
/// # Errors
/// Those of [`release`]; the models before are done then.
pub async fn retry_in_all(
    store: &MongoStore,
    history: &dyn History,
    subject: &str,
) -> Result<Vec<Retried>, ProjectionError> {
    let mut retried = Vec::new();
    for (model, released) in visit_all(&mut RetryInModel { store, history, subject }) {
        match released.await? {
            Release::NotQuarantined => {}
            Release::Released => retried.push(Retried { model, still: None }),
            Release::StillUnreadable(event) => retried.push(Retried { model, still: Some(event) }),
        }
    }
    Ok(retried)
}

struct RetryInModel<'a> {
    store: &'a MongoStore,
    history: &'a dyn History,
    subject: &'a str,
}

impl<'a> ModelVisitor for RetryInModel<'a> {
    type Output = (&'static str, BoxFuture<'a, Result<Release, ProjectionError>>);

    fn visit<M: ReadModel>(&mut self) -> Self::Output {
        let Self { store, history, subject } = *self;
        (M::NAME, release::<M>(store, history, subject).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_subject_has_the_first_event_of_each_aggregate_and_all_its_models() {
        let event = |subject: &str, sequence| Unreadable::new(subject, sequence, "unknown type");
        let found = by_subject([
            (Some("users"), event("a", 9)),
            (Some("sessions"), event("a", 7)),
            (None, event("a", 8)),
            (None, event("b", 3)),
        ]);
        let expected = [
            Quarantined { event: event("a", 7), models: vec!["users", "sessions"] },
            Quarantined { event: event("b", 3), models: vec![] },
        ];
        assert_eq!(found.into_values().collect::<Vec<_>>(), expected);
    }
}

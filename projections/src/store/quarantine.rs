//! The quarantine of a model: aggregates with an event that can't be folded, each from that event on.
//!
//! The list is stored in the model's checkpoint, which then means: all events up to its sequence are in the documents,
//! except those of these aggregates from their sequences on. Each change of the list increments `changes`, and every
//! conditional write to the checkpoint names the `changes` that it expects. A projector with an old list therefore fails
//! and reopens.

use std::collections::BTreeMap;
use std::sync::Arc;

use dockhost_domain::subject::AggregateId;
use serde::{Deserialize, Serialize};

/// How many aggregates one model can quarantine. More mean that the wrong program runs: the model stops instead.
pub const MAX_QUARANTINED: usize = 10_000;
/// How much of a reason is stored, in characters.
const MAX_REASON_CHARS: usize = 300;

/// An event that can't be folded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The subject of its aggregate.
    pub subject: String,
    /// Its sequence in the log.
    pub sequence: u64,
    /// What is wrong with it; holds no personal data.
    pub why: String,
}

impl Unreadable {
    /// The event at `sequence` on `subject`; cuts a long reason.
    #[must_use]
    pub fn new(subject: impl Into<String>, sequence: u64, why: &str) -> Self {
        Self { subject: subject.into(), sequence, why: why.chars().take(MAX_REASON_CHARS).collect() }
    }
}

/// More aggregates would be quarantined than [`MAX_QUARANTINED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_QUARANTINED} aggregates hold events that can't be read")]
pub struct QuarantineFull;

/// The quarantined aggregates of one model. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredQuarantine", into = "StoredQuarantine")]
pub struct Quarantine {
    changes: u64,
    entries: Arc<BTreeMap<String, Unreadable>>,
}

/// The stored form: members of a checkpoint, absent until an aggregate was quarantined for the first time.
#[derive(Serialize, Deserialize)]
struct StoredQuarantine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quarantined: Option<Vec<Unreadable>>,
}

impl From<StoredQuarantine> for Quarantine {
    fn from(StoredQuarantine { changes, quarantined }: StoredQuarantine) -> Self {
        let entries = quarantined.into_iter().flatten().map(|one| (one.subject.clone(), one)).collect();
        Self { changes: changes.unwrap_or(0), entries: Arc::new(entries) }
    }
}

impl From<Quarantine> for StoredQuarantine {
    fn from(quarantine: Quarantine) -> Self {
        let changed = quarantine.changes > 0;
        let entries = || quarantine.entries().cloned().collect();
        Self { changes: changed.then_some(quarantine.changes), quarantined: changed.then(entries) }
    }
}

impl Quarantine {
    /// How often the stored list was changed.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// The next list, without this aggregate.
    pub(crate) fn without(&self, subject: &str) -> Self {
        let mut next = self.clone();
        Arc::make_mut(&mut next.entries).remove(subject);
        next.replacing(self)
    }

    /// This list as the successor of `before`: increments `changes` if the entries differ.
    pub(crate) fn replacing(self, before: &Self) -> Self {
        Self { changes: before.changes + u64::from(self.entries != before.entries), ..self }
    }

    /// The first event of each aggregate that can't be folded, by subject.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Unreadable> {
        self.entries.values()
    }

    /// How many aggregates are quarantined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no aggregate is quarantined.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The event that an aggregate is quarantined for.
    #[must_use]
    pub fn get(&self, subject: &str) -> Option<&Unreadable> {
        self.entries.get(subject)
    }

    /// Whether an aggregate's event at this sequence must not be folded.
    #[must_use]
    pub fn covers(&self, aggregate: &AggregateId, sequence: u64) -> bool {
        !self.is_empty() && self.get(&aggregate.to_string()).is_some_and(|first| first.sequence <= sequence)
    }

    /// Quarantines an aggregate from this event on, unless it already is from an earlier one on.
    ///
    /// # Errors
    /// [`QuarantineFull`]; then nothing has changed.
    pub fn add(&mut self, unreadable: Unreadable) -> Result<(), QuarantineFull> {
        match self.get(&unreadable.subject) {
            Some(first) if first.sequence <= unreadable.sequence => return Ok(()),
            None if self.len() >= MAX_QUARANTINED => return Err(QuarantineFull),
            Some(_) | None => {}
        }
        Arc::make_mut(&mut self.entries).insert(unreadable.subject.clone(), unreadable);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::ids::UserId;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn aggregate(n: u128) -> AggregateId {
        AggregateId::Account(UserId::from_uuid(Uuid::from_u128(n)))
    }

    #[test]
    fn quarantine_covers_an_aggregate_from_its_first_unreadable_event_on() {
        let mut quarantine = Quarantine::default();
        for sequence in [7, 9, 5, 6] {
            quarantine.add(Unreadable::new(aggregate(1).to_string(), sequence, "")).unwrap();
        }
        assert_eq!(quarantine.get(&aggregate(1).to_string()).map(|first| first.sequence), Some(5));
        assert_eq!([4, 5, 8].map(|sequence| quarantine.covers(&aggregate(1), sequence)), [false, true, true]);
        assert!(!quarantine.covers(&aggregate(2), 8));
    }

    #[test]
    fn quarantine_stored_form_round_trips_and_is_absent_if_never_changed() {
        let before = Quarantine { changes: 4, ..Quarantine::default() };
        let mut quarantine = before.clone();
        quarantine.add(Unreadable::new("a", 7, &"x".repeat(1000))).unwrap();
        let quarantine = quarantine.replacing(&before);
        assert_eq!(quarantine.clone().replacing(&quarantine), quarantine);
        let stored = serde_json::to_value(&quarantine).unwrap();
        let why = "x".repeat(MAX_REASON_CHARS);
        let expected = json!({ "changes": 5, "quarantined": [{ "subject": "a", "sequence": 7, "why": why }] });
        assert_eq!(stored, expected);
        assert_eq!(serde_json::from_value::<Quarantine>(stored).unwrap(), quarantine);
        assert_eq!(serde_json::to_value(Quarantine::default()).unwrap(), json!({}));
        assert_eq!(serde_json::from_value::<Quarantine>(json!({})).unwrap(), Quarantine::default());
    }
}

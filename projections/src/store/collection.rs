//! Which collection holds a model: `users` at first, `users_v2` after a rebuild, and so on, always upwards.
//!
//! In: a model. Out: the name that its checkpoint gives, which is the alias that a rebuild switches. A reader asks the
//! collection that it knew last and, at the same time, the checkpoint: the answer counts if the name was right, else it
//! asks again. So a name is never believed beyond one question, and costs no time. The same holds for what is held
//! back: an answer that was read while the list changed is asked for again, so its mark belongs to what it shows. A rebuild drops the old collection
//! only [`GRACE`] after its switch; an answer that took longer than that (the process may have been stopped) counts
//! for nothing either. So a rebuild is never seen as documents that are missing or that went back.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::PoisonError;
use std::time::Duration;

use dockhost_domain::subject::AggregateId;
use futures::future::join;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{LIMIT, MongoStore, StoreError};
use crate::model::ReadModel;

/// How long the old collection outlives a switch: longer than any question that began before it.
pub(crate) const GRACE: Duration = Duration::from_secs(LIMIT.as_secs() + 2);

/// The name of a collection that holds, or is to hold, a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionName(String);

impl CollectionName {
    /// The documented name, which a model has until its first rebuild.
    #[must_use]
    pub fn first(model: &str) -> Self {
        Self(model.to_owned())
    }

    /// The name with this number.
    pub(crate) fn numbered(model: &str, number: u32) -> Self {
        if number <= 1 { Self::first(model) } else { Self(format!("{model}_v{number}")) }
    }

    /// The number in a name of this model: 1 for the first; none if it isn't one.
    pub(crate) fn number(model: &str, name: &str) -> Option<u32> {
        let rest = name.strip_prefix(model)?;
        if rest.is_empty() {
            return Some(1);
        }
        let number = rest.strip_prefix("_v")?.parse().ok()?;
        (Self::numbered(model, number).as_str() == name).then_some(number)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a checkpoint said, and when it was asked.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) name: CollectionName,
    /// How often what is held back had been changed.
    pub(super) changes: u64,
    pub(super) asked_at: Instant,
}

/// What was found, and whether it is all that the log says of the aggregate that was asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown<T> {
    /// What was found.
    pub found: T,
    /// The aggregate is held back: its events from this sequence on are not in what was found.
    pub stale_since: Option<u64>,
}

impl<T> Deref for Shown<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.found
    }
}

impl MongoStore {
    /// Remembers what a checkpoint said, unless something asked later is known.
    pub(super) fn learn(&self, model: &'static str, news: Known) {
        let mut names = self.inner.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.get(model).is_none_or(|known| known.asked_at <= news.asked_at) {
            names.insert(model, news);
        }
    }

    fn guess(&self, model: &'static str) -> (CollectionName, u64) {
        let names = self.inner.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(model).map_or_else(|| (CollectionName::first(model), 0), |known| (known.name.clone(), known.changes))
    }

    /// Asks the model's live collection, about one aggregate if there is one that the question is about.
    pub(super) async fn ask<M, T, F, Fut>(
        &self,
        about: Option<&AggregateId>,
        question: F,
    ) -> Result<Shown<T>, StoreError>
    where
        M: ReadModel,
        F: Fn(CollectionName) -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        loop {
            let ((name, changes), asked_at) = (self.guess(M::NAME), Instant::now());
            let (glance, answer) = join(self.glance::<M>(about), question(name.clone())).await;
            let now = glance?;
            if now.collection == name && now.changes == changes && asked_at.elapsed() < GRACE {
                return Ok(Shown { found: answer?, stale_since: now.held_from() });
            }
            self.learn(M::NAME, Known { name: now.collection, changes: now.changes, asked_at });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_upwards_and_foreign_ones_have_no_number() {
        for number in 1..12 {
            assert_eq!(
                CollectionName::number("users", CollectionName::numbered("users", number).as_str()),
                Some(number)
            );
        }
        assert_eq!(CollectionName::numbered("users", 1).as_str(), "users");
        for foreign in ["users_v1", "users_v02", "users_v+2", "users_vx", "users2", "usersx", "sessions", ""] {
            assert_eq!(CollectionName::number("users", foreign), None, "{foreign}");
        }
    }
}

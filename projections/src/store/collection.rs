//! Which collection holds a model: `users` at first, `users_v2` after a rebuild, and so on, always upwards.
//!
//! In: a model. Out: the name that its checkpoint gives, which is the alias that a rebuild switches. A reader asks the
//! collection that it knew last and, at the same time, the checkpoint: the answer counts if the name was right, else it
//! asks again. So a name is never believed beyond one question, and costs no time. A rebuild drops the old collection
//! only [`GRACE`] after its switch; an answer that took longer than that (the process may have been stopped) counts
//! for nothing either. So a rebuild is never seen as documents that are missing or that went back.

use std::fmt;
use std::future::Future;
use std::sync::PoisonError;
use std::time::Duration;

use futures::future::join;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Checkpoint, LIMIT, MongoStore, StoreError};
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

/// A name, and when it was asked for.
#[derive(Debug, Clone)]
pub(super) struct Known {
    name: CollectionName,
    asked_at: Instant,
}

impl MongoStore {
    /// Remembers what a checkpoint said, unless something asked later is known.
    pub(super) fn learn(&self, model: &'static str, checkpoint: Option<&Checkpoint>, asked_at: Instant) {
        let name = checkpoint.map_or_else(|| CollectionName::first(model), |c| c.collection.clone());
        let mut names = self.inner.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.get(model).is_none_or(|known| known.asked_at <= asked_at) {
            names.insert(model, Known { name, asked_at });
        }
    }

    fn guess(&self, model: &'static str) -> CollectionName {
        let names = self.inner.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(model).map_or_else(|| CollectionName::first(model), |known| known.name.clone())
    }

    /// Asks the model's live collection.
    pub(super) async fn ask<M, T, F, Fut>(&self, question: F) -> Result<T, StoreError>
    where
        M: ReadModel,
        F: Fn(CollectionName) -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        loop {
            let (name, asked_at) = (self.guess(M::NAME), Instant::now());
            let (checkpoint, answer) = join(self.checkpoint::<M>(), question(name.clone())).await;
            let live = checkpoint?.map_or_else(|| CollectionName::first(M::NAME), |c| c.collection);
            if live == name && asked_at.elapsed() < GRACE {
                return answer;
            }
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

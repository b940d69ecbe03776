//! Which collection holds a model: `users` at first, `users_v2` after a rebuild, and so on, always upwards.
//!
//! In: a model. Out: the name that its checkpoint gives, which is the alias that a rebuild switches. A reader asks the
//! collection that it knew last and, at the same time, the checkpoint: the answer counts if the name was right, else it
//! asks again. What a checkpoint said is believed for [`LOCATION_CACHE_TTL`]: under load nearly all questions are one question, and a
//! reader finds a rebuilt model that much later at most. Whoever must not see anything older has it looked up anew
//! ([`MongoStore::refresh_location`]). Once anything was held back nothing is believed: an answer that was read while the list
//! changed is asked for again, so its mark belongs to what it shows.
//!
//! A rebuild drops the old collection only [`DROP_GRACE_PERIOD`] after its switch; an answer that took longer than that (the process
//! may have been stopped) counts for nothing. So a rebuild is never seen as documents that are missing or that went back.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::PoisonError;
use std::time::Duration;

use dockhost_domain::subject::AggregateId;
use futures::future::join;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::checkpoint::CheckpointHeader;
use super::{MongoStore, OPERATION_TIMEOUT, StoreError};
use crate::model::ReadModel;

/// How long the old collection outlives a switch: longer than any question that began before it.
pub(crate) const DROP_GRACE_PERIOD: Duration = Duration::from_secs(OPERATION_TIMEOUT.as_secs() + 2);
/// How long a name is believed.
const LOCATION_CACHE_TTL: Duration = Duration::from_millis(250);

const SCRATCH: &str = "_scratch_";

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

    /// A name for documents that only a comparison needs; never one with a number.
    pub(crate) fn scratch(model: &str) -> Self {
        Self(format!("{model}{SCRATCH}{}", bson::oid::ObjectId::new()))
    }

    /// The name, if it is such a one of this model.
    pub(crate) fn as_scratch(model: &str, name: &str) -> Option<Self> {
        name.strip_prefix(model)?.starts_with(SCRATCH).then(|| Self(name.to_owned()))
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
pub(super) struct CachedLocation {
    pub(super) name: CollectionName,
    /// How often what is held back had been changed.
    pub(super) changes: u64,
    pub(super) asked_at: Instant,
}

impl CachedLocation {
    /// Whether an answer may rest on it alone.
    fn is_valid(&self) -> bool {
        self.changes == 0 && self.asked_at.elapsed() < LOCATION_CACHE_TTL
    }
}

/// What was found, and whether it is all that the log says of the aggregate that was asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadResult<T> {
    /// What was found.
    pub value: T,
    /// The aggregate is held back: its events from this sequence on are not in what was found.
    pub stale_since: Option<u64>,
}

impl<T> Deref for ReadResult<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl MongoStore {
    /// Remembers what a checkpoint said, unless something asked later is known.
    pub(super) fn cache_location(&self, model: &'static str, news: CachedLocation) {
        let mut names = self.inner.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.get(model).is_none_or(|known| known.asked_at <= news.asked_at) {
            names.insert(model, news);
        }
    }

    fn cached_location(&self, model: &'static str) -> Option<CachedLocation> {
        self.inner.names.lock().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }

    /// Looks up where the model's documents are: questions from now on see what was there by now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn refresh_location<M: ReadModel>(&self) -> Result<(), StoreError> {
        let asked_at = Instant::now();
        let CheckpointHeader { collection, changes, .. } = self.checkpoint_header::<M>(None).await?;
        self.cache_location(M::NAME, CachedLocation { name: collection, changes, asked_at });
        Ok(())
    }

    /// Asks the model's live collection, about one aggregate if there is one that the question is about.
    pub(super) async fn query<M, T, F, Fut>(
        &self,
        about: Option<&AggregateId>,
        question: F,
    ) -> Result<ReadResult<T>, StoreError>
    where
        M: ReadModel,
        F: Fn(CollectionName) -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        loop {
            let known = self.cached_location(M::NAME);
            if let Some(known) = known.as_ref().filter(|known| known.is_valid()) {
                let answer = question(known.name.clone()).await;
                if known.asked_at.elapsed() < DROP_GRACE_PERIOD {
                    return Ok(ReadResult { value: answer?, stale_since: None });
                }
                continue;
            }
            let asked_at = Instant::now();
            let (name, changes) =
                known.map_or_else(|| (CollectionName::first(M::NAME), 0), |known| (known.name, known.changes));
            let (glance, answer) = join(self.checkpoint_header::<M>(about), question(name.clone())).await;
            let now = glance?;
            let stale_since = now.quarantined_from();
            let same = now.collection == name && now.changes == changes;
            self.cache_location(M::NAME, CachedLocation { name: now.collection, changes: now.changes, asked_at });
            if same && asked_at.elapsed() < DROP_GRACE_PERIOD {
                return Ok(ReadResult { value: answer?, stale_since });
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
        let scratch = CollectionName::scratch("users");
        assert_eq!(CollectionName::number("users", scratch.as_str()), None);
        assert_eq!(CollectionName::as_scratch("users", scratch.as_str()), Some(scratch.clone()));
        assert_eq!(CollectionName::as_scratch("users", "users_v2"), None);
        assert_eq!(CollectionName::as_scratch("user", scratch.as_str()), None);
    }
}

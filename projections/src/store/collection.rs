//! Which collection holds a model: at first `users`, after a rebuild `users_v2`, and so on; numbers only rise.
//!
//! A query reads the collection that was live last and, at the same time, the checkpoint: the result is valid if the
//! collection is still live, else the query runs again. A location is cached for [`LOCATION_CACHE_TTL`], so under load
//! nearly every query is one read, and a reader finds a rebuilt model after that time at the latest. A caller that must
//! not read anything older calls [`MongoStore::refresh_location`] first. A model with a quarantine is never cached, so
//! that a result and its `stale_since` belong together.
//!
//! A replaced collection is dropped no sooner than [`DROP_GRACE_PERIOD`] after the switch, and a result that took longer
//! (the process may have been suspended) is discarded. A reader therefore never sees a dropped or partly dropped
//! collection.

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
use super::schema::StoredModel;
use super::{MongoStore, OPERATION_TIMEOUT, StoreError};

/// How long a replaced collection is kept after the switch: longer than any query that started before.
pub(crate) const DROP_GRACE_PERIOD: Duration = Duration::from_secs(OPERATION_TIMEOUT.as_secs() + 2);
/// How long a location is valid.
const LOCATION_CACHE_TTL: Duration = Duration::from_millis(250);

const SCRATCH: &str = "_scratch_";

/// The name of a collection that holds, or is to hold, a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionName(String);

impl CollectionName {
    /// The collection of a model that was never rebuilt.
    #[must_use]
    pub fn first(model: &str) -> Self {
        Self(model.to_owned())
    }

    /// The collection with this number.
    pub(crate) fn numbered(model: &str, number: u32) -> Self {
        if number <= 1 { Self::first(model) } else { Self(format!("{model}_v{number}")) }
    }

    /// The number of a collection of this model, 1 for the first; `None` for any other name.
    pub(crate) fn number(model: &str, name: &str) -> Option<u32> {
        let rest = name.strip_prefix(model)?;
        if rest.is_empty() {
            return Some(1);
        }
        let number = rest.strip_prefix("_v")?.parse().ok()?;
        (Self::numbered(model, number).as_str() == name).then_some(number)
    }

    /// A new collection for the documents of a verification; it has no number.
    pub(crate) fn scratch(model: &str) -> Self {
        Self(format!("{model}{SCRATCH}{}", bson::oid::ObjectId::new()))
    }

    /// The name, if it is one of a verification of this model.
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

/// The location of a model, as read from its checkpoint.
#[derive(Debug, Clone)]
pub(super) struct CachedLocation {
    pub(super) name: CollectionName,
    /// The changes of the quarantine at that time.
    pub(super) changes: u64,
    pub(super) read_at: Instant,
}

impl CachedLocation {
    /// Whether a query may use it without reading the checkpoint.
    fn is_valid(&self) -> bool {
        self.changes == 0 && self.read_at.elapsed() < LOCATION_CACHE_TTL
    }
}

/// The result of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadResult<T> {
    /// What was found.
    pub value: T,
    /// The queried aggregate is quarantined: its events from this sequence on are not in `value`.
    pub stale_since: Option<u64>,
}

impl<T> Deref for ReadResult<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl MongoStore {
    /// Caches a location, unless a later one is cached.
    pub(super) fn cache_location(&self, model: &'static str, location: CachedLocation) {
        let mut cached = self.inner.locations.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.get(model).is_none_or(|cached| cached.read_at <= location.read_at) {
            cached.insert(model, location);
        }
    }

    fn cached_location(&self, model: &'static str) -> Option<CachedLocation> {
        self.inner.locations.lock().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }

    /// Reads where the model's documents are: queries that start afterwards see everything stored before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn refresh_location(&self, model: &'static str) -> Result<(), StoreError> {
        let read_at = Instant::now();
        let CheckpointHeader { collection, changes, .. } = self.checkpoint_header(model, None).await?;
        self.cache_location(model, CachedLocation { name: collection, changes, read_at });
        Ok(())
    }

    /// Queries the live collection of a model; `about` is the aggregate that the query concerns, if it is one.
    pub(super) async fn query<M, T, F, Fut>(
        &self,
        about: Option<&AggregateId>,
        read: F,
    ) -> Result<ReadResult<T>, StoreError>
    where
        M: StoredModel,
        F: Fn(CollectionName) -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        loop {
            let cached = self.cached_location(M::NAME);
            if let Some(location) = cached.as_ref().filter(|location| location.is_valid()) {
                let value = read(location.name.clone()).await;
                if location.read_at.elapsed() < DROP_GRACE_PERIOD {
                    return Ok(ReadResult { value: value?, stale_since: None });
                }
                continue;
            }
            let read_at = Instant::now();
            let (name, changes) = cached
                .map_or_else(|| (CollectionName::first(M::NAME), 0), |location| (location.name, location.changes));
            let (header, value) = join(self.checkpoint_header(M::NAME, about), read(name.clone())).await;
            let header = header?;
            let stale_since = header.quarantined_from();
            let unchanged = header.collection == name && header.changes == changes;
            let location = CachedLocation { name: header.collection, changes: header.changes, read_at };
            self.cache_location(M::NAME, location);
            if unchanged && read_at.elapsed() < DROP_GRACE_PERIOD {
                return Ok(ReadResult { value: value?, stale_since });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collection_name_number_round_trips_and_rejects_other_names() {
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

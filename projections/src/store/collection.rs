//! Which collection holds a model: at first `users_v1`, after a rebuild `users_v2`, and so on; numbers only rise. The name
//! `users` itself is a view of the live collection (`views.rs`). Earlier releases began with a collection `users`: it has
//! number 0, and stays until the model is built again.
//!
//! A query (`query.rs`) reads the collection that was live last and the checkpoint in one snapshot of the database: the
//! result is valid if the collection is the one that the checkpoint names, else the query runs again.
//!
//! A replaced collection is dropped no sooner than [`DROP_GRACE_PERIOD`] after the switch, and a result that took longer
//! (the process may have been suspended) is discarded. A reader therefore never sees a dropped or partly dropped
//! collection.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::OPERATION_TIMEOUT;

/// How long a replaced collection is kept after the switch: longer than any query that started before.
pub(crate) const DROP_GRACE_PERIOD: Duration = Duration::from_secs(OPERATION_TIMEOUT.as_secs() + 2);

const SCRATCH: &str = "_scratch_";

/// The name of a collection that holds, or is to hold, a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionName(String);

impl CollectionName {
    /// The collection of a model that was never rebuilt.
    #[must_use]
    pub fn first(model: &str) -> Self {
        Self::numbered(model, 1)
    }

    /// The collection with this number.
    pub(crate) fn numbered(model: &str, number: u32) -> Self {
        if number == 0 { Self(model.to_owned()) } else { Self(format!("{model}_v{number}")) }
    }

    /// The number of a collection of this model; `None` for any other name.
    pub(crate) fn number(model: &str, name: &str) -> Option<u32> {
        let rest = name.strip_prefix(model)?;
        if rest.is_empty() {
            return Some(0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collection_name_number_round_trips_and_rejects_other_names() {
        for number in 0..12 {
            assert_eq!(
                CollectionName::number("users", CollectionName::numbered("users", number).as_str()),
                Some(number)
            );
        }
        assert_eq!(CollectionName::numbered("users", 0).as_str(), "users");
        assert_eq!(CollectionName::first("users").as_str(), "users_v1");
        for foreign in ["users_v0", "users_v02", "users_v+2", "users_vx", "users2", "usersx", "sessions", ""] {
            assert_eq!(CollectionName::number("users", foreign), None, "{foreign}");
        }
        let scratch = CollectionName::scratch("users");
        assert_eq!(CollectionName::number("users", scratch.as_str()), None);
        assert_eq!(CollectionName::as_scratch("users", scratch.as_str()), Some(scratch.clone()));
        assert_eq!(CollectionName::as_scratch("users", "users_v2"), None);
        assert_eq!(CollectionName::as_scratch("user", scratch.as_str()), None);
    }
}

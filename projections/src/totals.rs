//! Totals over all documents, for metrics.

use std::collections::BTreeMap;

use bson::{Bson, Document as BsonDocument, doc};
use dockhost_domain::timestamp::Timestamp;
use serde::Deserialize;

use crate::instances::{Instances, LIVE, live};
use crate::sessions::{Sessions, live_at};
use crate::store::{MongoStore, StoreError};

/// Totals over all documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions that have neither ended nor expired.
    pub sessions: u64,
    /// Instances that are not deleted, by their status in the document; every status is there.
    pub instances: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "_id")]
    name: Option<String>,
    count: u64,
}

/// Counts the documents that a filter selects, by a member or all together.
fn counting(filter: BsonDocument, by: impl Into<Bson>) -> Vec<BsonDocument> {
    vec![doc! { "$match": filter }, doc! { "$group": { "_id": by.into(), "count": { "$sum": 1 } } }]
}

impl MongoStore {
    /// The totals at this time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn totals(&self, now: Timestamp) -> Result<Totals, StoreError> {
        let sessions = self.rows_with::<Sessions, Group>(None, counting(live_at(now), Bson::Null)).await?;
        let by_status = counting(doc! { "status": live() }, "$status");
        let instances = self.rows_with::<Instances, Group>(None, by_status).await?;
        let none = LIVE.map(|status| (status.as_str().to_owned(), 0));
        let found = instances.value.into_iter().filter_map(|group| Some((group.name?, group.count)));
        Ok(Totals {
            sessions: sessions.value.into_iter().map(|group| group.count).sum(),
            instances: none.into_iter().chain(found).collect(),
        })
    }
}

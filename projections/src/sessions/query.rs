//! Queries of `sessions`.

use std::collections::BTreeMap;

use bson::{Bson, Document as BsonDocument, doc};
use dockhost_domain::ids::PrincipalId;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;

use serde::Deserialize;

use super::{SessionDocument, Sessions};
use crate::store::{MongoStore, ReadResult, StoreError};

/// Sessions that have neither ended nor expired at this time.
pub(crate) fn live_at(now: Timestamp) -> BsonDocument {
    doc! { "revokedAt": Bson::Null, "expiresAt": { "$gt": now.to_string() } }
}

/// A principal, and when they signed in last.
#[derive(Deserialize)]
struct LastSignIn {
    #[serde(rename = "_id")]
    principal_id: PrincipalId,
    time: Timestamp,
}

impl MongoStore {
    /// The principal's sessions that have not ended at this time, the newest first; stale if they are quarantined.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sessions_of(
        &self,
        principal: PrincipalId,
        now: Timestamp,
    ) -> Result<ReadResult<Vec<SessionDocument>>, StoreError> {
        let mut filter = live_at(now);
        filter.insert("principalId", principal.to_string());
        let about = Some(AggregateId::Session(principal));
        self.find::<Sessions>(about, filter, doc! { "startedAt": -1, "_id": -1 }).await
    }

    /// When each of these principals signed in last, also if that session has ended; without those who never did.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_sign_ins(
        &self,
        principals: &[PrincipalId],
    ) -> Result<ReadResult<BTreeMap<PrincipalId, Timestamp>>, StoreError> {
        let ids: Vec<String> = principals.iter().map(ToString::to_string).collect();
        let filter = doc! { "principalId": { "$in": ids }, "isToken": false };
        // Timestamps are texts of one length.
        let group = doc! { "_id": "$principalId", "time": { "$max": "$startedAt" } };
        let stages = vec![doc! { "$match": filter }, doc! { "$group": group }];
        let found = self.rows_with::<Sessions, LastSignIn>(None, stages).await?;
        Ok(found.map(|rows| rows.into_iter().map(|row| (row.principal_id, row.time)).collect()))
    }
}

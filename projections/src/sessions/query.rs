//! Queries of `sessions`.

use bson::{Bson, Document as BsonDocument, doc};
use dockhost_domain::ids::PrincipalId;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;

use super::{SessionDocument, Sessions};
use crate::store::{MongoStore, ReadResult, StoreError};

/// Sessions that have neither ended nor expired at this time.
pub(crate) fn live_at(now: Timestamp) -> BsonDocument {
    doc! { "revokedAt": Bson::Null, "expiresAt": { "$gt": now.to_string() } }
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
}

//! Queries of `sessions`.

use std::collections::BTreeMap;

use bson::{Bson, Document as BsonDocument, doc};
use dockhost_domain::ids::{PrincipalId, SessionId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;

use serde::Deserialize;

use super::{SessionDocument, Sessions};
use crate::store::{MongoStore, Page, ReadResult, StoreError};

/// Sessions that have neither ended nor expired at this time.
pub(crate) fn live_at(now: Timestamp) -> BsonDocument {
    doc! { "revokedAt": Bson::Null, "expiresAt": { "$gt": now.to_string() } }
}

/// Which of the sessions that have not ended a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionFilter {
    /// Whose.
    pub principal: Option<PrincipalId>,
    /// The time at which they have not ended.
    pub now: Timestamp,
}

impl SessionFilter {
    fn document(&self) -> BsonDocument {
        let mut filter = live_at(self.now);
        if let Some(principal) = self.principal {
            filter.insert("principalId", principal.to_string());
        }
        filter
    }

    /// Whether a session is one of them; as the query selects.
    #[must_use]
    pub fn selects(&self, session: &SessionDocument) -> bool {
        session.revoked_at.is_none()
            && self.now < session.expires_at
            && self.principal.is_none_or(|principal| session.principal_id == principal)
    }
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

    /// A page of the sessions of everybody that a filter selects, the newest first: of the many that are kept, those that have
    /// not ended are among the last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sessions_of_all(
        &self,
        filter: &SessionFilter,
        page: Page<SessionId>,
    ) -> Result<ReadResult<Vec<SessionDocument>>, StoreError> {
        self.find_with::<Sessions>(None, page.stages_from_the_last(filter.document())).await
    }

    /// A session, also one that has ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn session(&self, id: SessionId) -> Result<ReadResult<Option<SessionDocument>>, StoreError> {
        let found = self.find::<Sessions>(None, doc! { "_id": id.to_string() }, doc! {}).await?;
        Ok(found.map(|mut documents| documents.pop()))
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

//! An enrolment token, as administrators see it.

use dockhost_domain::enrolment::{self, TokenEnd};
use dockhost_domain::ids::{BackendId, EnrolmentTokenId, UserId};
use dockhost_domain::labels::Labels;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::views::LabelMap;

/// A token that registers one backend. The token itself is shown only when it is created.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolmentToken {
    #[schema(value_type = Uuid)]
    id: EnrolmentTokenId,
    status: EnrolmentTokenStatus,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The id of the administrator who created it.
    #[schema(value_type = Uuid)]
    created_by: UserId,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The capacity of the backend; null if it gets what it asks for.
    #[schema(required)]
    max_containers: Option<u32>,
    /// The labels of the backend.
    #[schema(value_type = LabelMap)]
    labels: Labels,
    /// The backend that was registered with it.
    #[schema(value_type = Option<Uuid>, required)]
    backend_id: Option<BackendId>,
    /// When it was used or revoked.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    ended_at: Option<Timestamp>,
}

/// Only a `valid` token can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnrolmentTokenStatus {
    Valid,
    Used,
    Revoked,
    Expired,
}

impl EnrolmentTokenStatus {
    /// The status of a token as of now.
    pub fn of(token: &enrolment::EnrolmentToken, now: Timestamp) -> Self {
        match token.end {
            Some(TokenEnd::Used { .. }) => Self::Used,
            Some(TokenEnd::Revoked { .. }) => Self::Revoked,
            None if token.is_valid(now) => Self::Valid,
            None => Self::Expired,
        }
    }
}

impl EnrolmentToken {
    /// The token as of now.
    pub fn new(id: EnrolmentTokenId, token: &enrolment::EnrolmentToken, now: Timestamp) -> Self {
        let (backend_id, ended_at) = match token.end {
            Some(TokenEnd::Used { backend_id, at }) => (Some(backend_id), Some(at)),
            Some(TokenEnd::Revoked { at }) => (None, Some(at)),
            None => (None, None),
        };
        Self {
            id,
            status: EnrolmentTokenStatus::of(token, now),
            created_at: token.created_at,
            created_by: token.created_by,
            expires_at: token.expires_at,
            max_containers: token.max_containers,
            labels: token.labels.clone(),
            backend_id,
            ended_at,
        }
    }
}

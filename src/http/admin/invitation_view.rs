//! An invitation, as administrators see it.

use dockhost_domain::ids::{GroupId, InvitationId, UserId};
use dockhost_domain::invitation::{self, InvitationEnd};
use dockhost_domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// An invitation, with which one person signs up. Its token is shown only when it is created.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    #[schema(value_type = Uuid)]
    id: InvitationId,
    status: InvitationStatus,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The id of the administrator who created it.
    #[schema(value_type = Uuid)]
    created_by: UserId,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The most instances of the person who signs up with it; null for that of the server's configuration.
    #[schema(required)]
    max_instances: Option<u32>,
    /// The id of the group that the person is put into.
    #[schema(value_type = Option<Uuid>, required)]
    group_id: Option<GroupId>,
    /// The user who signed up with it.
    #[schema(value_type = Option<Uuid>, required)]
    user_id: Option<UserId>,
    /// When it was used or revoked.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    ended_at: Option<Timestamp>,
}

/// Only a `valid` invitation can be used.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum InvitationStatus {
    Valid,
    Used,
    Revoked,
    Expired,
}

impl Invitation {
    /// The invitation as of now.
    pub fn new(id: InvitationId, invitation: &invitation::Invitation, now: Timestamp) -> Self {
        let (status, user_id, ended_at) = match invitation.end {
            Some(InvitationEnd::Used { user_id, at }) => (InvitationStatus::Used, Some(user_id), Some(at)),
            Some(InvitationEnd::Revoked { at }) => (InvitationStatus::Revoked, None, Some(at)),
            None if invitation.is_valid(now) => (InvitationStatus::Valid, None, None),
            None => (InvitationStatus::Expired, None, None),
        };
        Self {
            id,
            status,
            created_at: invitation.created_at,
            created_by: invitation.details.by,
            expires_at: invitation.details.expires_at,
            max_instances: invitation.details.max_instances,
            group_id: invitation.details.group_id,
            user_id,
            ended_at,
        }
    }
}

//! An invitation, as administrators see it.

use dockhost_domain::ids::{GroupId, InvitationId, UserId};
use dockhost_domain::invitation::{self, InvitationEnd};
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::processors;

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
    /// The most instances of the person who signs up with it; null for that of their group or of the server's configuration.
    #[schema(required)]
    max_instances: Option<u32>,
    /// The most processors that their instances may use in all; null for that of their group.
    #[schema(required)]
    max_cpu: Option<f64>,
    /// The most memory that they may use in all, in MiB; null for that of their group.
    #[schema(required)]
    max_memory_mib: Option<u32>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InvitationStatus {
    Valid,
    Used,
    Revoked,
    Expired,
}

impl InvitationStatus {
    /// The status of an invitation as of now.
    pub fn of(invitation: &invitation::Invitation, now: Timestamp) -> Self {
        match invitation.end {
            Some(InvitationEnd::Used { .. }) => Self::Used,
            Some(InvitationEnd::Revoked { .. }) => Self::Revoked,
            None if invitation.is_valid(now) => Self::Valid,
            None => Self::Expired,
        }
    }
}

impl Invitation {
    /// The invitation as of now.
    pub fn new(id: InvitationId, invitation: &invitation::Invitation, now: Timestamp) -> Self {
        let (user_id, ended_at) = match invitation.end {
            Some(InvitationEnd::Used { user_id, at }) => (Some(user_id), Some(at)),
            Some(InvitationEnd::Revoked { at }) => (None, Some(at)),
            None => (None, None),
        };
        Self {
            id,
            status: InvitationStatus::of(invitation, now),
            created_at: invitation.created_at,
            created_by: invitation.details.by,
            expires_at: invitation.details.expires_at,
            max_instances: invitation.details.max_instances,
            max_cpu: invitation.details.max_cpu_millis.map(|millis| processors::of_millis(millis.into())),
            max_memory_mib: invitation.details.max_memory_mib,
            group_id: invitation.details.group_id,
            user_id,
            ended_at,
        }
    }
}

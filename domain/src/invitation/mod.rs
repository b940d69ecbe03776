//! The invitations of all administrators: one aggregate, so that two people can't use the same one, and a list of them needs
//! no read model.
//!
//! The token of an invitation is in no event: only its hash is. Invitations that are over are forgotten after a while, so the
//! state stays small.

mod decide;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::enrolment::TokenHash;
use crate::event::Event;
use crate::ids::{GroupId, InvitationId, UserId};
use crate::quota::Quota;
use crate::subject::{AggregateId, AllInvitations};
use crate::timestamp::Timestamp;

pub use decide::{
    CreateInvitation, InvitationInvalid, RevokeInvitation, RevokeInvitationRejected, TooManyInvitations, UseInvitation,
};

/// How long an invitation stays in the list after it expired, in event time.
pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most invitations that are valid at the same time.
pub const MAX_VALID: usize = 1000;

/// The events of the invitations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum InvitationsEvent {
    /// An administrator invited somebody.
    #[serde(rename = "dockhost.invitation.created.v1")]
    Created(InvitationCreated),
    /// Somebody signed up with it, in one batch with the account.
    #[serde(rename = "dockhost.invitation.used.v1")]
    Used(InvitationUsed),
    /// An administrator revoked it.
    #[serde(rename = "dockhost.invitation.revoked.v1")]
    Revoked(InvitationRevoked),
}

/// An administrator invited somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvitationCreated {
    /// The invitation's id.
    pub invitation_id: InvitationId,
    /// Hex of the SHA-256 of its token.
    pub hash: TokenHash,
    /// Who made it.
    pub by: UserId,
    /// Until when it can be used.
    pub expires_at: Timestamp,
    /// The maximum number of instances of the person who signs up with it; that of their group or the configured one if absent.
    pub max_instances: Option<u32>,
    /// The processor time that their instances may have in all, in thousandths of a processor; that of their group if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cpu_millis: Option<u32>,
    /// The memory that their instances may have in all, in MiB; that of their group if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_mib: Option<u32>,
    /// The group of the person who signs up with it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<GroupId>,
}

/// Somebody signed up with an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvitationUsed {
    /// The invitation's id.
    pub invitation_id: InvitationId,
    /// The new user.
    pub user_id: UserId,
}

/// An administrator revoked an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvitationRevoked {
    /// The invitation's id.
    pub invitation_id: InvitationId,
}

/// The invitations that are not forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitations {
    invitations: BTreeMap<InvitationId, Invitation>,
}

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// What it is good for.
    #[serde(flatten)]
    pub details: InvitationCreated,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it was used or revoked.
    pub end: Option<InvitationEnd>,
}

/// How an invitation ended before it expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum InvitationEnd {
    /// Somebody signed up with it.
    Used {
        /// The new user.
        user_id: UserId,
        /// When.
        at: Timestamp,
    },
    /// An administrator revoked it.
    Revoked {
        /// When.
        at: Timestamp,
    },
}

impl InvitationCreated {
    /// What the instances of the person who signs up with it may be and use in all, as far as the invitation sets it.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        Quota { instances: self.max_instances, cpu_millis: self.max_cpu_millis, memory_mib: self.max_memory_mib }
    }
}

impl Invitation {
    /// Whether it can be used.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.end.is_none() && now < self.details.expires_at
    }

    /// Whether this user signed up with it.
    #[must_use]
    pub fn was_used_by(&self, user: UserId) -> bool {
        matches!(self.end, Some(InvitationEnd::Used { user_id, .. }) if user_id == user)
    }
}

impl Invitations {
    /// The invitations, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (InvitationId, &Invitation)> {
        self.invitations.iter().map(|(id, invitation)| (*id, invitation))
    }

    /// An invitation by its id.
    #[must_use]
    pub fn get(&self, id: InvitationId) -> Option<&Invitation> {
        self.invitations.get(&id)
    }

    /// The invitation whose token has this hash, also one that is over.
    #[must_use]
    pub fn find(&self, hash: &TokenHash) -> Option<(InvitationId, &Invitation)> {
        self.iter().find(|(_, invitation)| invitation.details.hash == *hash)
    }
}

impl Aggregate for Invitations {
    type Id = AllInvitations;
    type Event = InvitationsEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &[
        "59370972ec9eff8a0eaa97b8ed11e5fbf3b2d3758f7c0fb3bef6cd1fb07abc7d",
        "eca40161ef666b7f47c6dddba581a7b2f6c27cde0994f4734fd6c94fc85e12a9",
        "378457a3ee75c794fedb3c95dc5adea59487a3d2a9435e1a968dabd2f255cefa",
    ];

    fn subject(id: AllInvitations) -> AggregateId {
        AggregateId::Invitations(id)
    }

    fn event(event: &Event) -> Option<&InvitationsEvent> {
        if let Event::Invitations(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &InvitationsEvent, meta: &Meta) {
        self.invitations.retain(|_, invitation| meta.time.since(invitation.details.expires_at) < RETENTION);
        let mut end = |id, end| {
            if let Some(invitation) = self.invitations.get_mut(&id) {
                invitation.end = Some(end);
            }
        };
        match event {
            InvitationsEvent::Created(created) => {
                let invitation = Invitation { details: created.clone(), created_at: meta.time, end: None };
                self.invitations.insert(created.invitation_id, invitation);
            }
            InvitationsEvent::Used(used) => {
                end(used.invitation_id, InvitationEnd::Used { user_id: used.user_id, at: meta.time });
            }
            InvitationsEvent::Revoked(revoked) => end(revoked.invitation_id, InvitationEnd::Revoked { at: meta.time }),
        }
    }
}

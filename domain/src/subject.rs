//! The subjects of the broker: built from typed ids, and parsed.
//!
//! No subject contains text that a user entered: ids are UUIDs, and claims are the hex form of a keyed hash, so no name
//! can inject `.`, `*` or `>`. Each aggregate has one literal subject, to which the expectation of an append applies.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{BackendId, InstanceId, PrincipalId, UserId};

/// All events, the filter of the stream EVENTS.
pub const ALL_EVENTS: &str = "dockhost.event.>";
/// The subject of barriers: messages in EVENTS that are no events. A barrier has no headers and no body; its
/// acknowledgement proves that a quorum of the stream's copies had everything before it.
pub const BARRIER: &str = "dockhost.event.barrier";
/// All assignments, the filter of the stream ASSIGNMENTS.
pub const ALL_ASSIGNMENTS: &str = "dockhost.assignment.>";
/// All reports, the filter of the stream REPORTS.
pub const ALL_REPORTS: &str = "dockhost.report.*";
/// All heartbeats (core NATS, not stored).
pub const ALL_HEARTBEATS: &str = "dockhost.heartbeat.*";
/// All hello requests.
pub const ALL_HELLOS: &str = "dockhost.hello.*";
/// All confirm requests.
pub const ALL_CONFIRMS: &str = "dockhost.confirm.*";
/// All timers, the filter of the stream TIMERS.
pub const ALL_TIMERS: &str = "dockhost.timer.>";
/// The timers that have fired.
pub const FIRED_TIMERS: &str = "dockhost.timer.fired.>";

/// The kind of a claimed name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimKind {
    /// A user's name.
    Username,
    /// A user's email address, lower-cased.
    Email,
    /// A backend's name.
    Backend,
}

impl ClaimKind {
    const ALL: [Self; 3] = [Self::Username, Self::Email, Self::Backend];

    /// The token in the subject.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::Email => "email",
            Self::Backend => "backend",
        }
    }
}

/// The keyed hash of a claimed name: 32 bytes, written as 64 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimHash([u8; 32]);

impl ClaimHash {
    /// Wraps the HMAC.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ClaimHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ClaimHash {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        let invalid = || InvalidSubject(text.to_owned());
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(invalid()),
        };
        if text.len() != 64 {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

/// A claim: the kind and the keyed hash of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId {
    /// The kind of name.
    pub kind: ClaimKind,
    /// The keyed hash of the normalised name.
    pub hash: ClaimHash,
}

/// The id of the one set of administrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllAdministrators;

impl fmt::Display for AllAdministrators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all")
    }
}

/// The id of the one set of enrolment tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllEnrolmentTokens;

impl fmt::Display for AllEnrolmentTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all")
    }
}

/// The id of the one set of invitations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllInvitations;

impl fmt::Display for AllInvitations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all")
    }
}

/// The id of the one set of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllGroups;

impl fmt::Display for AllGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all")
    }
}

/// The id of the one set of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllRefusals;

impl fmt::Display for AllRefusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all")
    }
}

/// An aggregate, and so one literal subject of the stream EVENTS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AggregateId {
    /// A user's account.
    Account(UserId),
    /// The set of all administrators.
    Administrators(AllAdministrators),
    /// All instances of a user.
    Tenancy(UserId),
    /// The sessions of a principal.
    Session(PrincipalId),
    /// A backend.
    Backend(BackendId),
    /// The tokens with which backends are registered.
    EnrolmentTokens(AllEnrolmentTokens),
    /// The invitations with which people sign up.
    Invitations(AllInvitations),
    /// The groups of users.
    Groups(AllGroups),
    /// What was refused.
    Refusals(AllRefusals),
    /// The webhooks of a user.
    Webhooks(UserId),
    /// A claimed name.
    Claim(ClaimId),
}

/// The text is not a subject of DockHost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a known subject")]
pub struct InvalidSubject(pub String);

impl AggregateId {
    /// The aggregate's kind: its token in the subject.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Administrators(_) => "administrators",
            Self::Tenancy(_) => "tenancy",
            Self::Session(_) => "session",
            Self::Backend(_) => "backend",
            Self::EnrolmentTokens(_) => "enrolment-tokens",
            Self::Invitations(_) => "invitations",
            Self::Groups(_) => "groups",
            Self::Refusals(_) => "refusals",
            Self::Webhooks(_) => "webhooks",
            Self::Claim(_) => "claim",
        }
    }

    /// The principal whose key seals the personal values of this aggregate; `None` for those that have none.
    #[must_use]
    pub fn sealed_under(&self) -> Option<PrincipalId> {
        match self {
            Self::Account(id) | Self::Tenancy(id) | Self::Webhooks(id) => Some((*id).into()),
            Self::Session(id) => Some(*id),
            Self::Backend(id) => Some((*id).into()),
            Self::Administrators(_)
            | Self::EnrolmentTokens(_)
            | Self::Invitations(_)
            | Self::Groups(_)
            | Self::Refusals(_)
            | Self::Claim(_) => None,
        }
    }
}

/// The subject.
impl fmt::Display for AggregateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dockhost.event.{}.", self.kind())?;
        match self {
            Self::Account(id) | Self::Tenancy(id) | Self::Webhooks(id) => id.fmt(f),
            Self::Administrators(all) => all.fmt(f),
            Self::Session(id) => id.fmt(f),
            Self::Backend(id) => id.fmt(f),
            Self::EnrolmentTokens(all) => all.fmt(f),
            Self::Invitations(all) => all.fmt(f),
            Self::Groups(all) => all.fmt(f),
            Self::Refusals(all) => all.fmt(f),
            Self::Claim(ClaimId { kind, hash }) => write!(f, "{}.{hash}", kind.as_str()),
        }
    }
}

impl FromStr for AggregateId {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        let invalid = |_| InvalidSubject(text.to_owned());
        let (kind, rest) = text
            .strip_prefix("dockhost.event.")
            .and_then(|rest| rest.split_once('.'))
            .ok_or_else(|| InvalidSubject(text.to_owned()))?;
        match kind {
            "account" => Ok(Self::Account(rest.parse().map_err(invalid)?)),
            "administrators" if rest == "all" => Ok(Self::Administrators(AllAdministrators)),
            "enrolment-tokens" if rest == "all" => Ok(Self::EnrolmentTokens(AllEnrolmentTokens)),
            "groups" if rest == "all" => Ok(Self::Groups(AllGroups)),
            "refusals" if rest == "all" => Ok(Self::Refusals(AllRefusals)),
            "invitations" if rest == "all" => Ok(Self::Invitations(AllInvitations)),
            "tenancy" => Ok(Self::Tenancy(rest.parse().map_err(invalid)?)),
            "session" => Ok(Self::Session(rest.parse().map_err(invalid)?)),
            "webhooks" => Ok(Self::Webhooks(rest.parse().map_err(invalid)?)),
            "backend" => Ok(Self::Backend(rest.parse().map_err(invalid)?)),
            "claim" => {
                let (token, hash) = rest.split_once('.').ok_or_else(|| InvalidSubject(text.to_owned()))?;
                let kind = ClaimKind::ALL
                    .into_iter()
                    .find(|kind| kind.as_str() == token)
                    .ok_or_else(|| InvalidSubject(text.to_owned()))?;
                Ok(Self::Claim(ClaimId { kind, hash: hash.parse()? }))
            }
            _ => Err(InvalidSubject(text.to_owned())),
        }
    }
}

/// A subject between the server and a backend, or of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// The assignment of an instance to a backend. The stream stores the last one per subject.
    Assignment(BackendId, InstanceId),
    /// A backend's reports, stored until the server has processed them.
    Report(BackendId),
    /// A backend's heartbeats; not stored.
    Heartbeat(BackendId),
    /// A backend's hello request.
    Hello(BackendId),
    /// A backend's confirm request.
    Confirm(BackendId),
    /// The scheduled deadline of an instance at a generation.
    ScheduledTimer(InstanceId, u32),
    /// The same deadline, once the broker has fired it.
    FiredTimer(InstanceId, u32),
}

impl Channel {
    /// The filter that selects all assignments of one backend.
    #[must_use]
    pub fn assignments_of(backend: BackendId) -> String {
        format!("dockhost.assignment.{backend}.*")
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assignment(backend, instance) => write!(f, "dockhost.assignment.{backend}.{instance}"),
            Self::Report(backend) => write!(f, "dockhost.report.{backend}"),
            Self::Heartbeat(backend) => write!(f, "dockhost.heartbeat.{backend}"),
            Self::Hello(backend) => write!(f, "dockhost.hello.{backend}"),
            Self::Confirm(backend) => write!(f, "dockhost.confirm.{backend}"),
            Self::ScheduledTimer(instance, generation) => write!(f, "dockhost.timer.at.{instance}.{generation}"),
            Self::FiredTimer(instance, generation) => write!(f, "dockhost.timer.fired.{instance}.{generation}"),
        }
    }
}

impl FromStr for Channel {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        let invalid = || InvalidSubject(text.to_owned());
        let parts: Vec<&str> = text.strip_prefix("dockhost.").ok_or_else(invalid)?.split('.').collect();
        let channel = match parts.as_slice() {
            ["assignment", backend, instance] => {
                Self::Assignment(backend.parse().map_err(|_| invalid())?, instance.parse().map_err(|_| invalid())?)
            }
            ["report", backend] => Self::Report(backend.parse().map_err(|_| invalid())?),
            ["heartbeat", backend] => Self::Heartbeat(backend.parse().map_err(|_| invalid())?),
            ["hello", backend] => Self::Hello(backend.parse().map_err(|_| invalid())?),
            ["confirm", backend] => Self::Confirm(backend.parse().map_err(|_| invalid())?),
            ["timer", "at", instance, generation] => Self::ScheduledTimer(
                instance.parse().map_err(|_| invalid())?,
                generation.parse().map_err(|_| invalid())?,
            ),
            ["timer", "fired", instance, generation] => {
                Self::FiredTimer(instance.parse().map_err(|_| invalid())?, generation.parse().map_err(|_| invalid())?)
            }
            _ => return Err(invalid()),
        };
        // `+1` and `01` parse as numbers, but are not canonical.
        if channel.to_string() == text { Ok(channel) } else { Err(invalid()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn aggregates() -> impl Strategy<Value = AggregateId> {
        (0..13, any::<u128>(), any::<[u8; 32]>()).prop_map(|(kind, id, hash)| {
            let id = Uuid::from_u128(id);
            let claim = |kind| AggregateId::Claim(ClaimId { kind, hash: ClaimHash(hash) });
            match kind {
                0 => AggregateId::Account(UserId::from_uuid(id)),
                1 => AggregateId::Tenancy(UserId::from_uuid(id)),
                2 => AggregateId::Session(PrincipalId::from_uuid(id)),
                3 => AggregateId::Backend(BackendId::from_uuid(id)),
                4 => claim(ClaimKind::Username),
                5 => claim(ClaimKind::Email),
                6 => AggregateId::Administrators(AllAdministrators),
                7 => AggregateId::EnrolmentTokens(AllEnrolmentTokens),
                8 => AggregateId::Invitations(AllInvitations),
                9 => AggregateId::Groups(AllGroups),
                10 => AggregateId::Refusals(AllRefusals),
                11 => AggregateId::Webhooks(UserId::from_uuid(id)),
                _ => claim(ClaimKind::Backend),
            }
        })
    }

    fn channels() -> impl Strategy<Value = Channel> {
        (0..7, any::<u128>(), any::<u128>(), any::<u32>()).prop_map(|(kind, a, b, generation)| {
            let (backend, instance) =
                (BackendId::from_uuid(Uuid::from_u128(a)), InstanceId::from_uuid(Uuid::from_u128(b)));
            match kind {
                0 => Channel::Assignment(backend, instance),
                1 => Channel::Report(backend),
                2 => Channel::Heartbeat(backend),
                3 => Channel::Hello(backend),
                4 => Channel::Confirm(backend),
                5 => Channel::ScheduledTimer(instance, generation),
                _ => Channel::FiredTimer(instance, generation),
            }
        })
    }

    proptest! {
        #![proptest_config(crate::testing::many_cases())]

        #[test]
        fn subject_any_id_round_trips(aggregate in aggregates(), channel in channels()) {
            prop_assert_eq!(aggregate.to_string().parse::<AggregateId>().unwrap(), aggregate);
            prop_assert_eq!(channel.to_string().parse::<Channel>().unwrap(), channel);
        }

        #[test]
        fn subject_any_text_parses_only_in_canonical_form(
            text in "dockhost\\.(event|timer|report|assignment)\\.(account|administrators|enrolment-tokens|tenancy|webhooks|claim|at|fired)?\\.?[0-9a-f.*> $+-]{0,80}"
        ) {
            if let Ok(aggregate) = text.parse::<AggregateId>() {
                prop_assert_eq!(aggregate.to_string(), text.clone());
            }
            if let Ok(channel) = text.parse::<Channel>() {
                prop_assert_eq!(channel.to_string(), text);
            }
        }
    }

    #[test]
    fn subject_malformed_is_rejected() {
        let id = "0193b3a0-0000-7000-8000-000000000001";
        for text in [
            format!("dockhost.event.account.{id}.x"),
            format!("dockhost.event.account.{}", id.to_uppercase()),
            "dockhost.event.account.*".to_owned(),
            "dockhost.event.administrators.some".to_owned(),
            "dockhost.event.account.>".to_owned(),
            "dockhost.event.claim.username.zz".to_owned(),
            format!("dockhost.event.claim.nickname.{}", "0".repeat(64)),
            "$JS.API.STREAM.PURGE.EVENTS".to_owned(),
            BARRIER.to_owned(),
            String::new(),
        ] {
            assert!(text.parse::<AggregateId>().is_err(), "{text:?} was accepted");
        }
        assert!(format!("dockhost.timer.at.{id}.01").parse::<Channel>().is_err());
    }
}

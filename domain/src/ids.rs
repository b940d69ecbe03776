//! Identifiers: one newtype per kind, all UUIDv7 (agent runs aside), so that ids sort by creation time. The text of an id (36 characters,
//! hex digits and dashes) is safe in a subject.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::timestamp::Timestamp;

/// The text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind} id")]
pub struct InvalidId {
    /// The expected kind.
    pub kind: &'static str,
    /// The text.
    pub text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID. The server's clock adapter creates new ones.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Accepts only the hyphenated lower-case form, so that each id has one text.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text)
                    .ok()
                    .filter(|uuid| uuid.hyphenated().to_string() == text)
                    .map(Self)
                    .ok_or_else(|| InvalidId { kind: $kind, text: text.to_owned() })
            }
        }
    };
}

id!(
    /// A user.
    UserId, "user"
);
id!(
    /// A backend: a machine that runs containers.
    BackendId, "backend"
);
id!(
    /// An instance: a user's Linux container with SSH.
    InstanceId, "instance"
);
id!(
    /// A session (`sid` in its token).
    SessionId, "session"
);
id!(
    /// A named SSH key of an account.
    SshKeyId, "SSH key"
);
id!(
    /// One run of an agent: a random id that the agent makes when it starts. It tells two agents with the same API key
    /// apart.
    AgentRunId, "agent run"
);
id!(
    /// An event (`ce-id`).
    EventId, "event"
);
id!(
    /// An enrolment token.
    EnrolmentTokenId, "enrolment token"
);
id!(
    /// An invitation to sign up.
    InvitationId, "invitation"
);
id!(
    /// A group of users.
    GroupId, "group"
);
id!(
    /// A webhook.
    WebhookId, "webhook"
);
id!(
    /// A user or a backend, with the same UUID. Sealing keys and sessions belong to principals.
    PrincipalId, "principal"
);
id!(
    /// An operation that may outlast its request: the `ce-id` of the event that began it.
    OperationId, "operation"
);

impl InstanceId {
    /// The lowest id that can be made at this time: below it are the ids that were made before.
    #[must_use]
    pub fn lowest_at(time: Timestamp) -> Self {
        // A UUIDv7 begins with 48 bits of milliseconds.
        Self(Uuid::from_u128(u128::from(time.millis().unsigned_abs()) << 80))
    }
}

impl From<UserId> for PrincipalId {
    fn from(id: UserId) -> Self {
        Self(id.0)
    }
}

impl From<BackendId> for PrincipalId {
    fn from(id: BackendId) -> Self {
        Self(id.0)
    }
}

impl From<EventId> for OperationId {
    fn from(id: EventId) -> Self {
        Self(id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_id_lowest_at_is_above_the_ids_of_before_and_below_all_others() {
        let id: InstanceId = "0193b3a0-0001-7000-8000-000000000001".parse().unwrap();
        let (made, lowest_at) = (0x0193_b3a0_0001, |millis| InstanceId::lowest_at(Timestamp::from_millis(millis)));
        assert!(lowest_at(made) < id && id < lowest_at(made + 1));
        assert_eq!(lowest_at(made).to_string(), "0193b3a0-0001-0000-0000-000000000000");
    }

    #[test]
    fn id_in_any_other_form_is_rejected() {
        let text = "0193b3a0-0000-7000-8000-000000000001";
        assert_eq!(text.parse::<UserId>().unwrap().to_string(), text);
        for other in
            [text.to_uppercase(), text.replace('-', ""), format!("{{{text}}}"), format!("{text}.x"), String::new()]
        {
            if other == text {
                continue;
            }
            assert!(other.parse::<UserId>().is_err(), "{other} was accepted");
        }
    }
}

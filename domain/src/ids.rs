//! The registry of identifiers: one newtype per kind of thing, all UUIDv7, so that ids sort by birth.
//!
//! In: a UUID made by the clock adapter, or text from outside. Out: a typed id that cannot be mistaken for another
//! kind, and whose text (36 characters of hex and dashes) is safe inside a subject.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind} id")]
pub struct InvalidId {
    /// What was expected.
    pub kind: &'static str,
    /// What came instead.
    pub text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID; new ones come from the clock adapter of the server.
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

            /// Accepts the hyphenated lower-case form only: one thing has one text.
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
    /// A person's account.
    UserId, "user"
);
id!(
    /// A backend: one machine that runs containers.
    BackendId, "backend"
);
id!(
    /// An instance: one on-demand Linux machine of a user.
    InstanceId, "instance"
);
id!(
    /// A signed-in session (`sid` in its token).
    SessionId, "session"
);
id!(
    /// A recorded event (`ce-id`).
    EventId, "event"
);
id!(
    /// Whoever may sign in: a user or a backend, by the same UUID. Sealing keys and sessions belong to principals.
    PrincipalId, "principal"
);
id!(
    /// Something asked for that outlives its request: the `ce-id` of the event that recorded the wish.
    OperationId, "operation"
);

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
    fn an_id_has_exactly_one_text() {
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

//! The texts and numbers that backends send. Agents are not trusted, and what they send reaches users' shells, browsers
//! and terminals and the server's log. So each value has a type that only its valid form can have, and a message is
//! parsed into these types before it becomes a command or an event.
//!
//! Events of earlier releases may hold other values. What shows a recorded value parses it again.

mod address;
mod container;
mod key_digest;
mod malformed;
mod text;

pub use address::BackendAddress;
pub use container::{ContainerId, HostKey, HostKeys};
pub use key_digest::KeyDigest;
pub use malformed::{Malformed, MalformedKind, parse};
pub use text::ShortText;

/// Why a value is invalid. The message does not contain the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(&'static str);

/// The members that every newtype over a text has.
macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = $crate::reported::Invalid;
            fn try_from(text: String) -> Result<Self, $crate::reported::Invalid> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}
use text_type;

/// Checks a port for `#[serde(deserialize_with)]`: 1 to 65535.
///
/// # Errors
/// If it is 0 or no 16-bit number.
pub fn port<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let port: std::num::NonZeroU16 = serde::Deserialize::deserialize(deserializer)?;
    Ok(port.get())
}

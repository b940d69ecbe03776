//! The identity of a log.
//!
//! Every stored or returned position includes it. A restored or recreated log has another incarnation, and a position
//! is valid in its own log only: a reader that finds another incarnation stops with an error.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identity of a log: text that the broker's stream stores.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(String);

impl From<String> for Incarnation {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

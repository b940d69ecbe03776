//! Which log it is.
//!
//! In: the text by which the broker's stream tells itself from any other. Out: a value that stands beside every
//! position that is kept or handed out. A log that was restored or made anew has another one, and no position of the
//! one means anything in the other: a mismatch stops, it never "catches up".

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which log it is.
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

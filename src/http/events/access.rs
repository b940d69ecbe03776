//! For how long the caller of a stream may read it.

use std::time::Duration;

use dockhost_domain::account::Account;
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::ids::{SessionId, UserId};
use dockhost_domain::session::Sessions;
use futures::future::pending;

use crate::common::clock;
use crate::event_log::LogError;
use crate::http::app::App;

/// How often it is checked whether this replica still hears the log.
const SILENCE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The session with which a stream was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The user.
    pub user_id: UserId,
    /// The session.
    pub session_id: SessionId,
    /// Whether its user must be an administrator.
    pub needs_admin: bool,
}

/// Why a stream ends before its client wants that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessEnd {
    /// The session has ended or expired, or its user is no administrator any more.
    Unauthorized,
    /// Nothing proves any more that the session has not ended.
    Unknown,
}

/// Returns when the session may not read on.
pub async fn end(app: &App, session: Session) -> AccessEnd {
    let ended = tokio::select! {
        ended = session_end(app, session) => ended,
        ended = role_end(app, session) => ended,
        () = silence(app) => return AccessEnd::Unknown,
    };
    ended.map_or(AccessEnd::Unknown, |()| AccessEnd::Unauthorized)
}

async fn session_end(app: &App, Session { user_id, session_id, .. }: Session) -> Result<(), LogError> {
    let principal = user_id.into();
    // Watched before the state is read.
    let watcher = app.follower.watch(Sessions::subject(principal));
    let ended = watcher.wait_for(|| async {
        let sessions = app.executor.state::<Sessions>(principal).await?.state;
        Ok::<_, LogError>((!sessions.is_live(session_id, clock::now())).then_some(()))
    });
    // A refresh puts the end off, so it is looked up again each time.
    let expired = async {
        loop {
            let (sessions, now) = (app.executor.state::<Sessions>(principal).await?.state, clock::now());
            match sessions.expires_at(session_id).filter(|expires_at| now < *expires_at) {
                Some(expires_at) => tokio::time::sleep(expires_at.since(now)).await,
                None => return Ok::<_, LogError>(()),
            }
        }
    };
    tokio::select! {
        ended = ended => ended,
        expired = expired => expired,
    }
}

async fn role_end(app: &App, Session { user_id, needs_admin, .. }: Session) -> Result<(), LogError> {
    if !needs_admin {
        return pending().await;
    }
    let watcher = app.follower.watch(Account::subject(user_id));
    let is_none = || async {
        let account = app.executor.state::<Account>(user_id).await?.state;
        Ok::<_, LogError>((!account.is_admin()).then_some(()))
    };
    watcher.wait_for(is_none).await
}

/// Returns when this replica has not heard the log for as long as queries are answered without it.
async fn silence(app: &App) {
    while (app.log_silence)() <= app.settings.reads_without_broker {
        tokio::time::sleep(SILENCE_CHECK_INTERVAL).await;
    }
}

//! For how long the caller of a stream may read it.

use std::time::Duration;

use dockhost_domain::account::Account;
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::backend::{Backend, KeyValidity};
use dockhost_domain::ids::{BackendId, PrincipalId, SessionId, UserId};
use dockhost_domain::session::Sessions;
use futures::future::pending;
use tokio::time::sleep;

use crate::auth::api_key::ApiKeyId;
use crate::common::clock;
use crate::event_log::LogError;
use crate::http::app::App;
use crate::http::extract::{BackendCredential, api_key_validity};

/// How often it is checked whether this replica still hears the log.
const SILENCE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Who opened a stream, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A user.
    User {
        /// The account.
        user_id: UserId,
        /// The session of the token.
        session_id: SessionId,
        /// Whether the user must be an administrator.
        needs_admin: bool,
    },
    /// A backend.
    Backend {
        /// The backend.
        backend_id: BackendId,
        /// A session, or the API key.
        credential: BackendCredential,
    },
}

impl Caller {
    /// The user or the backend.
    pub fn principal(self) -> PrincipalId {
        match self {
            Self::User { user_id, .. } => user_id.into(),
            Self::Backend { backend_id, .. } => backend_id.into(),
        }
    }
}

/// Why a stream ends before its client wants that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessEnd {
    /// The session or the key is not valid any more, or the user is no administrator any more.
    Unauthorized,
    /// Nothing proves any more that the session has not ended.
    Unknown,
}

/// Returns when the caller may not read on.
pub async fn end(app: &App, caller: Caller) -> AccessEnd {
    let ended = tokio::select! {
        ended = right_end(app, caller) => ended,
        () = silence(app) => return AccessEnd::Unknown,
    };
    ended.map_or(AccessEnd::Unknown, |()| AccessEnd::Unauthorized)
}

async fn right_end(app: &App, caller: Caller) -> Result<(), LogError> {
    match caller {
        Caller::User { user_id, session_id, needs_admin } => tokio::select! {
            ended = session_end(app, user_id.into(), session_id) => ended,
            ended = role_end(app, user_id, needs_admin) => ended,
        },
        Caller::Backend { backend_id, credential: BackendCredential::Session(session_id) } => tokio::select! {
            ended = session_end(app, backend_id.into(), session_id) => ended,
            ended = revocation(app, backend_id) => ended,
        },
        Caller::Backend { backend_id, credential: BackendCredential::ApiKey { version } } => {
            key_end(app, ApiKeyId { backend_id, version }).await
        }
    }
}

async fn session_end(app: &App, principal: PrincipalId, session_id: SessionId) -> Result<(), LogError> {
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
                Some(expires_at) => sleep(expires_at.since(now)).await,
                None => return Ok::<_, LogError>(()),
            }
        }
    };
    tokio::select! {
        ended = ended => ended,
        expired = expired => expired,
    }
}

async fn role_end(app: &App, user_id: UserId, needs_admin: bool) -> Result<(), LogError> {
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

/// Returns when the backend is removed, or all its keys are revoked.
async fn revocation(app: &App, backend_id: BackendId) -> Result<(), LogError> {
    let watcher = app.follower.watch(Backend::subject(backend_id));
    let is_over = || async {
        let backend = app.executor.state::<Backend>(backend_id).await?.state;
        let is_over = backend.machine.as_ref().is_none_or(|machine| machine.is_key_revoked);
        Ok::<_, LogError>(is_over.then_some(()))
    };
    watcher.wait_for(is_over).await
}

/// Returns when the API key is not valid any more.
async fn key_end(app: &App, key: ApiKeyId) -> Result<(), LogError> {
    let watcher = app.follower.watch(Backend::subject(key.backend_id));
    let now_valid = || async {
        let backend = app.executor.state::<Backend>(key.backend_id).await?.state;
        Ok::<_, LogError>(api_key_validity(&backend, key, clock::now()))
    };
    let limited = || async {
        Ok::<_, LogError>(match now_valid().await? {
            Some(KeyValidity::Unlimited) => None,
            limited => Some(limited),
        })
    };
    let Some(KeyValidity::Until(until)) = watcher.wait_for(limited).await? else { return Ok(()) };
    // It was replaced, and is valid for a while beside the new one.
    let revoked = || async { Ok::<_, LogError>(now_valid().await?.is_none().then_some(())) };
    tokio::select! {
        revoked = watcher.wait_for(revoked) => revoked,
        () = sleep(until.since(clock::now())) => Ok(()),
    }
}

/// Returns when this replica has not heard the log for as long as queries are answered without it.
async fn silence(app: &App) {
    while (app.log_silence)() <= app.settings.reads_without_broker {
        sleep(SILENCE_CHECK_INTERVAL).await;
    }
}

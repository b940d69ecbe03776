//! Who may connect: users with a live session, and backends with one or with their API key, by cookie, by `Authorization`, or by
//! the token in `auth`.

use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use dockhost_domain::account::Account;
use serde::Deserialize;
use socketioxide::extract::{SocketRef, TryData};

use crate::http::app::App;
use crate::http::events::{Begin, Caller};
use crate::http::extract::{CurrentAdmin, CurrentBackend, CurrentSession};
use crate::http::response::{ApiError, Code};

/// What a client sends as `auth`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Credentials {
    /// The token of a sign-in, an API token, or the API key of a backend.
    token: Option<String>,
    /// The `position` of the last message that the client has.
    after: Option<String>,
}

/// Who has connected, and what they are sent.
#[derive(Debug, Clone, Copy)]
pub struct Connected {
    /// The user or the backend.
    pub caller: Caller,
    /// Whether they are told of all backends.
    pub is_admin: bool,
    /// Where their stream begins.
    pub begin: Begin,
}

/// Why somebody may not connect: the code of the API.
#[derive(Debug)]
pub struct Refused(Code);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Admits a client, or refuses it with the code of the error.
pub async fn authenticate(
    app: &Arc<App>,
    socket: &SocketRef,
    TryData(credentials): TryData<Credentials>,
) -> Result<(), Refused> {
    // Without `auth` there is nothing to read.
    let credentials = credentials.unwrap_or_default();
    let connected = admit(app, socket, credentials).await.map_err(|error| Refused(error.code()))?;
    socket.extensions.insert(connected);
    Ok(())
}

async fn admit(app: &Arc<App>, socket: &SocketRef, credentials: Credentials) -> Result<Connected, ApiError> {
    let mut parts = socket.req_parts().clone();
    if let Some(token) = credentials.token {
        let invalid = |_| ApiError::new(Code::Unauthorized, "the token has characters that no token has");
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(invalid)?;
        parts.headers.insert(header::AUTHORIZATION, bearer);
    }
    let caller = caller(app, &mut parts).await?;
    let begin = credentials.after.map_or(Ok(Begin::Now), |after| Begin::after(app, &after))?;
    let Caller::User { user_id, .. } = caller else { return Ok(Connected { caller, is_admin: false, begin }) };
    // Asked first, because a refused administrator's call is in the audit.
    let has_role = app.executor.state::<Account>(user_id).await?.state.is_admin();
    let is_admin = has_role && CurrentAdmin::from_request_parts(&mut parts, app).await.is_ok();
    Ok(Connected { caller, is_admin, begin })
}

/// A user, or else a backend.
async fn caller(app: &Arc<App>, parts: &mut Parts) -> Result<Caller, ApiError> {
    let refused = match CurrentSession::from_request_parts(parts, app).await {
        Ok(CurrentSession { user_id, session_id }) => {
            return Ok(Caller::User { user_id, session_id, needs_admin: false });
        }
        Err(refused) if refused.code() == Code::Unauthorized => refused,
        Err(refused) => return Err(refused),
    };
    match CurrentBackend::from_request_parts(parts, app).await {
        Ok(CurrentBackend { backend_id, credential }) => Ok(Caller::Backend { backend_id, credential }),
        Err(error) if error.code() == Code::Unauthorized => Err(refused),
        Err(error) => Err(error),
    }
}

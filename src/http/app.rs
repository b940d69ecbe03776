//! What the handlers work with: ports, and the settings that shape answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum_extra::extract::cookie::{Cookie, SameSite};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::BackendId;
use dockhost_domain::tenancy::Policy;
use dockhost_domain::wire::Limits;
use dockhost_projections::model::ReadModel;

use super::consistency;
use super::middleware::request_id;
use super::read_store::ReadStore;
use crate::auth::api_key::ApiKeys;
use crate::auth::password::Passwords;
use crate::auth::token::{TOKEN_LIFETIME_SECONDS, Tokens};
use crate::common::shutdown::ShutdownStages;
use crate::execute::Executor;
use crate::replica::follower::Follower;
use crate::replica::heartbeat_registry::HeartbeatRegistry;
use crate::replica::projection_progress::ProjectionProgress;
use crate::sealing::Keyring;

/// How long the answer to a write waits for the read models.
const MAX_PROJECTION_WAIT: Duration = Duration::from_millis(500);

/// The settings that shape answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Instances per user; none for no limit.
    pub quota: Option<u32>,
    /// What a container may use.
    pub limits: Limits,
    /// The image of new instances; the agent's own if none.
    pub image: Option<String>,
    /// Deadlines of operations.
    pub policy: Policy,
    /// The origin of the web frontend, which may call with credentials.
    pub frontend: Option<String>,
    /// Whether cookies are sent over TLS only.
    pub secure_cookies: bool,
    /// Whether `/api/openapi.json` and `/api/docs` are served.
    pub api_docs: bool,
}

/// What the handlers work with.
pub struct App {
    /// Executes commands on the event log.
    pub executor: Arc<Executor>,
    /// This replica's follower.
    pub follower: Arc<Follower>,
    /// The backends' last heartbeats.
    pub heartbeats: Arc<HeartbeatRegistry>,
    /// How far the read models are.
    pub progress: Arc<ProjectionProgress>,
    /// The read models.
    pub store: Arc<dyn ReadStore>,
    /// Hashes claims and idempotency keys.
    pub keyring: Arc<Keyring>,
    /// Whether the broker is connected.
    pub is_broker_connected: Box<dyn Fn() -> bool + Send + Sync>,
    /// Tokens of users.
    pub user_tokens: Tokens,
    /// Tokens of backends.
    pub backend_tokens: Tokens,
    /// API keys of agents.
    pub api_keys: ApiKeys,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// The settings.
    pub settings: Settings,
    /// How far this replica's shutdown is.
    pub stages: ShutdownStages,
    /// When this process started.
    pub started: Instant,
}

impl App {
    /// The origin of the events that the current request causes.
    pub fn origin(&self, actor: Actor) -> Origin {
        Origin { actor, cause: format!("request:{}", request_id::current()), trace_parent: request_id::trace_parent() }
    }

    /// The position of a sequence in this log.
    pub fn position(&self, sequence: u64) -> String {
        format!("{}.{sequence}", self.executor.log().incarnation())
    }

    /// Waits briefly until a read model has everything up to a sequence, so that the caller's next query shows its
    /// write. If that takes longer, the caller can send the answer's position with its query.
    pub async fn wait_until_projected<M: ReadModel>(&self, sequence: u64) {
        consistency::wait_until_projected::<M>(&self.follower, &self.progress, sequence, MAX_PROJECTION_WAIT).await;
    }

    /// A backend's name, if it is known and not erased.
    pub fn backend_name(&self, id: BackendId) -> Option<String> {
        self.follower.fleet().machine(id)?.details.username.plain().map(ToString::to_string)
    }

    /// The cookie of a session.
    pub fn session_cookie(&self, name: &'static str, token: String) -> Cookie<'static> {
        self.cookie(name, token, Duration::from_secs(u64::from(TOKEN_LIFETIME_SECONDS)))
    }

    /// The cookie that removes a session's cookie.
    pub fn removal_cookie(&self, name: &'static str) -> Cookie<'static> {
        self.cookie(name, String::new(), Duration::ZERO)
    }

    fn cookie(&self, name: &'static str, value: String, lifetime: Duration) -> Cookie<'static> {
        Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.settings.secure_cookies)
            .max_age(time::Duration::try_from(lifetime).unwrap_or(time::Duration::ZERO))
            .build()
    }
}

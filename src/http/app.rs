//! What the handlers work with: the ports that they use, and the settings that shape their answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum_extra::extract::cookie::{Cookie, SameSite};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::tenancy::Policy;
use dockhost_domain::wire::Limits;
use dockhost_projections::model::ReadModel;
use dockhost_projections::store::MongoStore;

use super::consistency;
use super::middleware::request_id;
use crate::auth::api_key::ApiKeys;
use crate::auth::password::Passwords;
use crate::auth::token::{TOKEN_LIFETIME_SECONDS, Tokens};
use crate::broker::connect::Broker;
use crate::execute::Executor;
use crate::replica::follower::Follower;
use crate::replica::heartbeat_registry::HeartbeatRegistry;
use crate::replica::projection_progress::ProjectionProgress;
use crate::sealing::Keyring;

/// How long an answer to a write waits for the read models.
const MAX_PROJECTION_WAIT: Duration = Duration::from_millis(500);

/// What shapes the answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Instances per user; none for no limit.
    pub quota: Option<u32>,
    /// What a container may use.
    pub limits: Limits,
    /// The image of new instances; the agents' own when absent.
    pub image: Option<String>,
    /// How long things may take.
    pub policy: Policy,
    /// Where the web frontend is served; its origin may call with credentials.
    pub frontend: Option<String>,
    /// Whether cookies go over TLS only.
    pub secure_cookies: bool,
}

/// What the handlers work with.
pub struct App {
    /// Runs commands.
    pub executor: Arc<Executor>,
    /// Knows the log.
    pub follower: Arc<Follower>,
    /// Knows the heartbeats.
    pub heartbeats: Arc<HeartbeatRegistry>,
    /// Knows how far the read models are.
    pub progress: Arc<ProjectionProgress>,
    /// Answers queries.
    pub store: MongoStore,
    /// Hashes claims, makes keys of new principals.
    pub keyring: Arc<Keyring>,
    /// The broker.
    pub broker: Broker,
    /// Tokens of users.
    pub user_tokens: Tokens,
    /// Tokens of backends.
    pub backend_tokens: Tokens,
    /// API keys of agents.
    pub api_keys: ApiKeys,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// What shapes the answers.
    pub settings: Settings,
    /// When this process began.
    pub started: Instant,
}

impl App {
    /// Who asks, and for which request.
    pub fn origin(&self, actor: Actor) -> Origin {
        Origin { actor, cause: format!("request:{}", request_id::current()), trace_parent: request_id::trace_parent() }
    }

    /// The position of a sequence in this log.
    pub fn position(&self, sequence: u64) -> String {
        format!("{}.{sequence}", self.executor.log().incarnation())
    }

    /// Waits a moment until a model shows what stands in the log up to a sequence, so that whoever wrote it reads it.
    /// If it takes longer, the answer's position tells a reader what to ask for.
    pub async fn await_projection<M: ReadModel>(&self, sequence: u64) {
        consistency::until_projected::<M>(&self.follower, &self.progress, sequence, MAX_PROJECTION_WAIT).await;
    }

    /// A session's cookie.
    pub fn session_cookie(&self, name: &'static str, token: String) -> Cookie<'static> {
        let lifetime = Duration::from_secs(u64::from(TOKEN_LIFETIME_SECONDS));
        self.cookie(name, token, lifetime)
    }

    /// The cookie that takes a session's cookie away.
    pub fn no_cookie(&self, name: &'static str) -> Cookie<'static> {
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

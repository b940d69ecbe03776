//! What the handlers work with: ports, and the settings that shape answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum_extra::extract::cookie::{Cookie, SameSite};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::BackendId;
use dockhost_domain::sizes::Offer;
use dockhost_domain::tenancy::Policy;
use dockhost_environment::settings::Setting;
use dockhost_gateway::socket::Broker as SocketIoBroker;
use dockhost_projections::model::ReadModel;
use ipnet::IpNet;
use secrecy::SecretString;

use super::broker_findings::BrokerFacts;
use super::consistency;
use super::dependencies::DependencyCheck;
use super::events::EventStreams;
use super::extract::{ClientAddress, USER_COOKIE};
use super::limits::RateLimits;
use super::metrics::MetricsToken;
use super::middleware::request_id;
use super::past::LogReader;
use super::read_store::ReadStore;
use super::refusals::Refusals;
use super::response::ApiError;
use super::webhooks::WebhookAccess;
use crate::auth::admission::{Enrolment, SharedSecret, SignUp};
use crate::auth::api_key::ApiKeys;
use crate::auth::password::Passwords;
use crate::auth::shares::Shares;
use crate::auth::token::{Tokens, UserTokens};
use crate::broker::agent_gate::AgentGate;
use crate::broker::store_room::StoreRoom;
use crate::common::shutdown::ShutdownStages;
use crate::execute::Executor;
use crate::metrics::Metrics;
use crate::replica::follower::Follower;
use crate::replica::heartbeat_registry::HeartbeatRegistry;
use crate::replica::log_monitor::LogMonitor;
use crate::replica::projection_progress::ProjectionProgress;
use crate::replica::role_watch::RoleWatch;
use crate::replica::stream_watch::StreamWatch;
use crate::sealing::Keyring;

/// How long the answer to a write waits for the read models.
const MAX_PROJECTION_WAIT: Duration = Duration::from_millis(500);

/// Hashes of one client that may wait at once: a small part of the queue.
pub const PASSWORD_SHARE: usize = 16;

/// The path of the endpoint that takes refresh tokens.
pub const REFRESH_PATH: &str = "/api/v2/user/refresh";

/// The settings that shape answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may sign up.
    pub sign_up: SignUp,
    /// The secret that registering a backend requires, if any.
    pub enrolment_secret: Option<SharedSecret>,
    /// Which backends may be registered and given instances.
    pub enrolment: Enrolment,
    /// Instances per user; none for no limit.
    pub quota: Option<u32>,
    /// What instances can have.
    pub offer: Offer,
    /// The image of new instances; the agent's own if none.
    pub image: Option<String>,
    /// Deadlines of operations.
    pub policy: Policy,
    /// How long queries are answered while nothing proves that this replica hears the log.
    pub reads_without_broker: Duration,
    /// The origins of the web frontends, which may call with credentials.
    pub frontends: Vec<String>,
    /// How long a sign-in is valid.
    pub session_lifetime: Duration,
    /// Whether and how sessions are kept in cookies.
    pub cookies: Cookies,
    /// When cookies have `SameSite=None`.
    pub cross_site: CrossSite,
    /// The proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether `/api/openapi.json` and `/api/docs` are served.
    pub api_docs: bool,
    /// What allows to read the metrics beside the API; none if nothing does.
    pub metrics_token: Option<MetricsToken>,
    /// All settings of this process, for administrators; without secrets.
    pub in_force: Vec<Setting>,
    /// The broker that the agents of Socket.IO backends connect to; none if there are no such backends.
    pub socketio_backends: Option<SocketIoBroker>,
}

/// When cookies have `SameSite=None`, so that pages of other sites can use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrossSite {
    /// In answers to frontends of other sites.
    ByRequest,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether and how sessions are kept in cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookies {
    /// No cookie is set, and none is accepted.
    Off,
    /// Over http as well.
    Plain,
    /// Over TLS only, with the prefix `__Host-`: no other host, and no page without TLS, can set them.
    Secure,
}

/// What the handlers work with.
pub struct App {
    /// Executes commands on the event log.
    pub executor: Arc<Executor>,
    /// This replica's follower.
    pub follower: Arc<Follower>,
    /// The backends' last heartbeats.
    pub heartbeats: Arc<HeartbeatRegistry>,
    /// Limits what backends send.
    pub gate: Arc<AgentGate>,
    /// How far the read models are.
    pub progress: Arc<ProjectionProgress>,
    /// The read models.
    pub store: Arc<dyn ReadStore>,
    /// Reads parts of the log for requests.
    pub log_reader: LogReader,
    /// The streams of clients that watch events.
    pub streams: EventStreams,
    /// Counts what is refused, for the audit.
    pub refusals: Arc<Refusals>,
    /// Hashes claims and idempotency keys.
    pub keyring: Arc<Keyring>,
    /// Whether the broker is connected.
    pub is_broker_connected: Box<dyn Fn() -> bool + Send + Sync>,
    /// Tokens of users.
    pub user_tokens: UserTokens,
    /// Tokens of backends.
    pub backend_tokens: Tokens,
    /// API keys of agents.
    pub api_keys: ApiKeys,
    /// Hashes passwords; see [`App::hash_password`].
    pub passwords: Passwords,
    /// How much of the queue for hashing one client may have.
    pub password_shares: Shares<ClientAddress>,
    /// Limits of requests.
    pub limits: Arc<RateLimits>,
    /// The settings.
    pub settings: Settings,
    /// How far this replica's shutdown is.
    pub stages: ShutdownStages,
    /// How full the log is, and whether a server leads.
    pub log_monitor: Arc<LogMonitor>,
    /// How long ago the last write began that the broker acknowledged.
    pub write_age: Box<dyn Fn() -> Duration + Send + Sync>,
    /// For how long nothing has proved that this replica hears the log.
    pub log_silence: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Whether the broker's streams have leaders.
    pub stream_watch: Arc<StreamWatch>,
    /// Whether the leader's roles get on.
    pub role_watch: Arc<RoleWatch>,
    /// How full the broker's nodes are.
    pub store_room: Arc<StoreRoom>,
    /// What the endpoints of webhooks work with.
    pub webhooks: WebhookAccess,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
    /// Whether broker and database answer.
    pub dependencies: DependencyCheck,
    /// When this process started.
    pub started: Instant,
}

impl App {
    /// The origin of the events that the current request causes.
    pub fn origin(&self, actor: Actor) -> Origin {
        let cause = format!("request:{}", request_id::current());
        Origin::new(actor, cause)
    }

    /// What this replica knows about the broker without asking it.
    pub fn broker_facts(&self) -> BrokerFacts {
        BrokerFacts {
            write_age: (self.write_age)(),
            leaderless: self.stream_watch.leaderless(),
            remade: self.stream_watch.remade(),
            unstored: self.stream_watch.unstored(),
            moved: self.stream_watch.moved(),
            lagging: self.stream_watch.lagging(),
            absent_nodes: self.stream_watch.absent_nodes(),
            fullest_store: self.store_room.fullest(),
            stalled: self.role_watch.stalled(),
            standstill: self.follower.standstill(),
        }
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

    /// The backends whose instances can be observed and changed now.
    pub fn reachable_backends(&self) -> Vec<BackendId> {
        let fleet = self.follower.fleet();
        let is_reachable =
            |id: &BackendId| fleet.machine(*id).is_some_and(|machine| self.heartbeats.is_reachable(*id, &machine));
        fleet.connected().into_iter().map(|(id, _)| id).filter(is_reachable).collect()
    }

    /// A verifier of a new password.
    ///
    /// # Errors
    /// `busy` if too many passwords are being hashed, for this client or for all.
    pub async fn hash_password(&self, client: ClientAddress, password: SecretString) -> Result<String, ApiError> {
        let _place = self.password_shares.wait(client).await.ok_or_else(ApiError::busy)?;
        Ok(self.passwords.hash(password).await?)
    }

    /// Whether a password matches; see [`Passwords::verify`].
    ///
    /// # Errors
    /// As [`App::hash_password`].
    pub async fn verify_password(
        &self,
        client: ClientAddress,
        password: SecretString,
        verifier: Option<String>,
    ) -> Result<bool, ApiError> {
        let _place = self.password_shares.wait(client).await.ok_or_else(ApiError::busy)?;
        Ok(self.passwords.verify(password, verifier).await?)
    }

    /// The cookie of an access token, if tokens are kept in cookies.
    pub fn session_cookie(&self, name: &str, token: String, lifetime: Duration) -> Option<Cookie<'static>> {
        let name = self.settings.cookies.names(name).into_iter().next()?;
        Some(self.cookie(name, token, "/", lifetime))
    }

    /// The cookie of a refresh token, if tokens are kept in cookies. Browsers send it to the one endpoint that needs it.
    pub fn refresh_cookie(&self, token: String, lifetime: Duration) -> Option<Cookie<'static>> {
        let name = self.settings.cookies.refresh_name()?;
        Some(self.cookie(name.to_owned(), token, REFRESH_PATH, lifetime))
    }

    /// The cookies that remove a backend's or a user's cookies.
    pub fn removal_cookies(&self, name: &str) -> Vec<Cookie<'static>> {
        let names = self.settings.cookies.names(name).into_iter();
        let removed = names.map(|name| self.cookie(name, String::new(), "/", Duration::ZERO));
        let refresh = (name == USER_COOKIE).then(|| self.refresh_cookie(String::new(), Duration::ZERO)).flatten();
        removed.chain(refresh).collect()
    }

    fn cookie(&self, name: String, value: String, path: &'static str, lifetime: Duration) -> Cookie<'static> {
        Cookie::build((name, value))
            .path(path)
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.settings.cookies == Cookies::Secure)
            .max_age(time::Duration::try_from(lifetime).unwrap_or(time::Duration::ZERO))
            .build()
    }
}

impl Cookies {
    /// The names under which a session's cookie may be sent, the one that is set first. Cookies of earlier versions have
    /// no prefix.
    pub fn names(self, name: &str) -> Vec<String> {
        match self {
            Self::Off => vec![],
            Self::Plain => vec![name.to_owned()],
            Self::Secure => vec![format!("__Host-{name}"), name.to_owned()],
        }
    }

    /// The name of the cookie of a refresh token. The prefix `__Host-` would not allow its path.
    pub const fn refresh_name(self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::Plain => Some("refreshToken"),
            Self::Secure => Some("__Secure-refreshToken"),
        }
    }
}

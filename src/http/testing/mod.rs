//! The whole service over memory adapters, for tests of handlers: no broker, no database, no socket.
//!
//! Every answer is compared with the API's document: its status and error code must be documented for the operation, and
//! its body must match the schema.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dockhost_domain::account::{
    CreateAccount, Created, Disabled, DisabledInstances, IssuePasswordReset, PasswordResetIssued, Role,
};
use dockhost_domain::administrators::ChangedBy;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::{BackendId, InstanceId, PrincipalId, SessionId, UserId};
use dockhost_domain::reported::{HostKeys, ShortText};
use dockhost_domain::room::Overcommit;
use dockhost_domain::session::{StartSession, Started};
use dockhost_domain::sizes::Offer;
use dockhost_domain::tenancy::{Facts, HandleReport, Policy, ReportPosition, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::{AgentError, Limits, Observation, Phase, Ports, Report, ReportKind};
use dockhost_projections::MODELS;
use dockhost_projections::store::MongoStore;
use futures::StreamExt;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::accounts::disable::disable;
use crate::accounts::role::change_role;
use crate::auth::admission::{Enrolment, SignUp};
use crate::auth::api_key::ApiKeys;
use crate::auth::password::Passwords;
use crate::auth::reset_token::ResetToken;
use crate::auth::shares::Shares;
use crate::auth::token::{Audience, Bearer, Tokens, UserTokens};
use crate::common::clock;
use crate::common::shutdown::ShutdownStages;
use crate::event_log::measured::MeasuredLog;
use crate::event_log::memory::MemoryLog;
use crate::event_log::{Delivery, EventLog, Filter};
use crate::execute::Executor;
use crate::http::app::{App, Cookies, CrossSite, PASSWORD_SHARE, Settings};
use crate::http::commands::reset_password::secret_hash;
use crate::http::dependencies::DependencyCheck;
use crate::http::events::{EventStreams, MaxStreams};
use crate::http::limits::RateLimits;
use crate::http::limits::policy::Policy as LimitPolicy;
use crate::http::past::LogReader;
use crate::http::read_store::ReadStore;
use crate::http::router;
use crate::http::sockets::Sockets;
use crate::http::views::TokenScope;
use crate::http::webhooks::WebhookAccess;
use crate::metrics::Metrics;
use crate::replica::follower::{Follower, tie_breaker};
use crate::replica::heartbeat_registry::HeartbeatRegistry;
use crate::replica::log_monitor::LogMonitor;
use crate::replica::projection_progress::ProjectionProgress;
use crate::sealing::{Keyring, LogAge, MemoryKeyStore};
use crate::webhooks::progress::ProgressStore;
use crate::webhooks::sender::Sender;

mod events;
mod fleet;
mod golden;
mod read_store;
mod request;

pub use events::EventReader;
pub use golden::golden_events;
pub use read_store::MemoryReadStore;
pub use request::{Answer, DOCUMENT, TestRequest, pages};

/// A public key whose private half does not exist.
pub const SSH_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

/// The fingerprint of a host key.
pub const HOST_KEY: &str = "SHA256:mVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE";

/// The password in the examples of the document.
pub const PASSWORD: &str = "correct horse";

/// The event streams that there may be.
const MAX_STREAMS: MaxStreams = MaxStreams { total: 4, per_user: 3 };

/// Makes no delivery outside this machine, nor to it. It takes time to make.
static SENDER: LazyLock<Arc<Sender>> = LazyLock::new(|| Arc::new(Sender::new(vec![]).unwrap()));

/// The service over memory adapters.
pub struct TestApp {
    pub app: Arc<App>,
    pub log: Arc<MemoryLog>,
    pub store: Arc<MemoryReadStore>,
    /// For how many milliseconds nothing has proved that the replica hears the log.
    pub log_silence_ms: Arc<AtomicU64>,
    service: Router,
    reports: AtomicU64,
    _stop: DropGuard,
}

/// Someone who calls, and their token.
#[derive(Debug, Clone)]
pub struct Caller<Id> {
    pub id: Id,
    pub token: String,
}

impl TestApp {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With changed settings.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::build(change, LimitPolicy::OFF, true).await
    }

    /// With read models that, as far as the service knows, have only what they had at the last
    /// [`project_all`](Self::project_all).
    pub async fn without_projector() -> Self {
        Self::build(|_| {}, LimitPolicy::OFF, false).await
    }

    /// The read models have the whole log.
    pub fn project_all(&self) {
        MODELS.iter().for_each(|model| self.app.progress.advance(model.name, self.log.last()));
    }

    /// With these limits, in the form of `DOCKHOST_RATE_LIMITS`.
    pub async fn limited(policy: &str) -> Self {
        Self::build(|_| {}, policy.parse().unwrap(), true).await
    }

    async fn build(change: impl FnOnce(&mut Settings), limits: LimitPolicy, is_projecting: bool) -> Self {
        crate::common::install_crypto();
        let mut settings = Settings {
            sign_up: SignUp::Open,
            enrolment_secret: None,
            enrolment: Enrolment::Open,
            quota: None,
            offer: Offer {
                default: Limits { memory_mib: 64, cpu_millis: 100, pids: 32 },
                max: Limits { memory_mib: 1024, cpu_millis: 2000, pids: 512 },
                sizes: "small=0.1/64/32,large=1/512/256".parse().unwrap(),
            },
            image: None,
            policy: Policy::default(),
            reads_without_broker: Duration::from_secs(60),
            frontends: vec![],
            session_lifetime: Duration::from_secs(24 * 3600),
            cookies: Cookies::Plain,
            cross_site: CrossSite::ByRequest,
            trusted_proxies: vec![],
            api_docs: true,
            metrics_token: None,
            in_force: vec![],
            socketio_backends: None,
        };
        change(&mut settings);
        let log = Arc::new(MemoryLog::default());
        let metrics = Arc::<Metrics>::default();
        let measured = MeasuredLog::new(Arc::clone(&log) as Arc<dyn EventLog>, Arc::clone(&metrics));
        let executor = Executor::new(Arc::new(measured));
        let heartbeats = Arc::new(HeartbeatRegistry::default());
        heartbeats.begin_listening();
        let follower =
            Follower::with(Arc::clone(&executor), Arc::clone(&heartbeats), Overcommit::default(), Arc::clone(&metrics));
        let master_key = STANDARD.encode([7; 32]).parse().unwrap();
        let keyring = Keyring::open(Arc::new(MemoryKeyStore::default()), master_key, LogAge::Empty).await.unwrap();
        let store = Arc::new(MemoryReadStore::new(Arc::clone(&log)));
        // Nothing listens there: progress comes from `project` alone.
        let checkpoints = MongoStore::connect("mongodb://127.0.0.1:1/?directConnection=true", "none").await.unwrap();
        let secret = |text: &str| text.repeat(32).into();
        let log_monitor = Arc::new(LogMonitor::new(Arc::clone(executor.capacity())));
        let log_silence_ms = Arc::<AtomicU64>::default();
        let silence = Arc::clone(&log_silence_ms);
        let app = Arc::new(App {
            executor,
            log_monitor,
            write_age: Box::new(|| Duration::ZERO),
            log_silence: Box::new(move || Duration::from_millis(silence.load(Ordering::Relaxed))),
            stream_watch: Arc::default(),
            role_watch: Arc::default(),
            store_room: Arc::default(),
            metrics,
            dependencies: DependencyCheck::default(),
            follower: Arc::clone(&follower),
            heartbeats,
            gate: Arc::default(),
            progress: Arc::new(ProjectionProgress::new(checkpoints)),
            store: Arc::clone(&store) as Arc<dyn ReadStore>,
            log_reader: LogReader::default(),
            webhooks: WebhookAccess::new(Arc::clone(&SENDER), Arc::clone(&store) as Arc<dyn ProgressStore>),
            streams: EventStreams::new(MAX_STREAMS),
            refusals: Arc::default(),
            keyring: Arc::new(keyring),
            is_broker_connected: Box::new(|| true),
            user_tokens: UserTokens::new(&secret("u")),
            backend_tokens: Tokens::new(Audience::Backend, &secret("b")),
            api_keys: ApiKeys::new(&secret("b")),
            passwords: Passwords::new().unwrap(),
            password_shares: Shares::new(PASSWORD_SHARE),
            limits: Arc::new(RateLimits::new(limits).0),
            settings,
            stages: ShutdownStages::default(),
            started: Instant::now(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&follower).run(0, BTreeMap::new(), stop.clone()));
        tokio::spawn(Arc::clone(follower.feed()).run(Arc::clone(&app.progress), stop.clone()));
        if is_projecting {
            tokio::spawn(project(Arc::clone(&app)));
        }
        follower.wait_until_caught_up().await;
        let service = router::service(&app, &Sockets::new(&app, "test", None));
        Self { app, log, store, log_silence_ms, service, reports: AtomicU64::new(0), _stop: stop.drop_guard() }
    }

    /// Waits until something is so.
    pub async fn eventually(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let checks = async {
            while !is_so().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), checks).await.unwrap_or_else(|_| panic!("not so: {what}"));
    }

    /// Waits until event streams are told of everything that is stored.
    pub async fn settle(&self) {
        self.eventually("the feed has the whole log", async || self.app.follower.feed().position() >= self.log.last())
            .await;
    }

    /// A request, to be sent with [`TestRequest::send`].
    pub fn request(&self, method: Method, path: &str) -> TestRequest<'_> {
        TestRequest { app: self, request: Request::builder().method(method).uri(path), body: Body::empty() }
    }

    pub fn get(&self, path: &str) -> TestRequest<'_> {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: Value) -> TestRequest<'_> {
        self.request(Method::POST, path).json(body)
    }

    pub fn put(&self, path: &str, body: Value) -> TestRequest<'_> {
        self.request(Method::PUT, path).json(body)
    }

    pub fn delete(&self, path: &str) -> TestRequest<'_> {
        self.request(Method::DELETE, path)
    }

    /// A user with an SSH key, signed in.
    pub async fn user(&self, name: &str) -> Caller<UserId> {
        self.user_with_key(name, Some(SSH_KEY)).await
    }

    /// An administrator, signed in.
    pub async fn admin(&self, name: &str) -> Caller<UserId> {
        let user = self.user(name).await;
        self.make_admin(user.id).await;
        user
    }

    /// Makes a user an administrator.
    pub async fn make_admin(&self, user_id: UserId) {
        change_role(&self.app.executor, user_id, Role::Admin, ChangedBy::Operator, &origin()).await.unwrap();
    }

    /// The operator disables an account; the instances go on.
    pub async fn disable(&self, user_id: UserId) {
        let disabled = Disabled { reason: None, instances: DisabledInstances::Leave };
        disable(&self.app.executor, user_id, disabled, ChangedBy::Operator, &origin()).await.unwrap();
    }

    /// An administrator issues a reset of a password.
    pub async fn issue_reset(&self, token: &ResetToken) {
        let expires_at = clock::now().after(Duration::from_secs(3600));
        let issued = PasswordResetIssued { secret_hash: secret_hash(&self.app, token), expires_at };
        self.app.executor.execute(token.user_id(), origin(), IssuePasswordReset(issued)).await.unwrap();
    }

    pub async fn user_with_key(&self, name: &str, ssh_public_key: Option<&str>) -> Caller<UserId> {
        let id = UserId::from_uuid(clock::fresh_uuid());
        let account = CreateAccount(Created {
            username: name.parse::<dockhost_domain::names::Username>().unwrap().into(),
            email: format!("{name}@example.org").into(),
            password_verifier: "none".to_owned().into(),
            ssh_public_key: ssh_public_key.map(|key| key.to_owned().into()),
            role: Role::User,
            group_id: None,
        });
        self.app.executor.execute(id, origin(), account).await.unwrap();
        Caller { id, token: self.session(id.into(), self.app.user_tokens.sign_ins()).await }
    }

    /// A user who signed up with [`PASSWORD`] over HTTP.
    pub async fn signed_up_user(&self, name: &str) -> Caller<UserId> {
        let email = format!("{name}@example.org");
        let body = json!({ "username": name, "email": email, "password": PASSWORD, "sshPublicKey": SSH_KEY });
        let answer = self.post("/api/v2/user/signup", body).send().await;
        let id = answer.data()["user"]["id"].as_str().unwrap().parse().unwrap();
        Caller { id, token: answer.data()["accessToken"].as_str().unwrap().to_owned() }
    }

    /// A backend that signed up with [`PASSWORD`] over HTTP.
    pub async fn signed_up_backend(&self, name: &str) -> Caller<BackendId> {
        let body = json!({ "username": name, "password": PASSWORD });
        let answer = self.post("/api/v2/backend/signup", body).send().await;
        let id = answer.data()["backend"]["id"].as_str().unwrap().parse().unwrap();
        Caller { id, token: answer.cookie("accessTokenBE").unwrap() }
    }

    async fn session(&self, principal: PrincipalId, tokens: &Tokens) -> String {
        let (session, expires_at) = self.start_session(principal).await;
        tokens.issue(Bearer { principal, session }, clock::now(), expires_at).unwrap()
    }

    /// The principal signs in once more; returns the session and when it expires.
    pub async fn start_session(&self, principal: PrincipalId) -> (SessionId, Timestamp) {
        let session_id = SessionId::from_uuid(clock::fresh_uuid());
        let expires_at = clock::now().after(Duration::from_secs(3600));
        let start = StartSession(Started { session_id, expires_at, token: None, client: None, refresh_until: None });
        self.app.executor.execute(principal, origin(), start).await.unwrap();
        (session_id, expires_at)
    }

    /// The refresh token of a new session of a user.
    pub async fn refresh_token(&self, user_id: UserId) -> String {
        let (principal, session_id, now) = (user_id.into(), SessionId::from_uuid(clock::fresh_uuid()), clock::now());
        let until = now.after(Duration::from_secs(3600));
        let refresh_until = Some(until);
        let start = StartSession(Started { session_id, expires_at: until, token: None, client: None, refresh_until });
        self.app.executor.execute(principal, origin(), start).await.unwrap();
        let bearer = Bearer { principal, session: session_id };
        let token = self.app.user_tokens.issue_refresh_token(bearer, 0, until).unwrap();
        token.expose_secret().to_owned()
    }

    /// An API token of a user: its id and the token.
    pub async fn api_token(&self, user: &Caller<UserId>, scope: TokenScope) -> (SessionId, String) {
        let body = json!({ "name": "for a test", "scope": scope });
        let created = self.post("/api/v2/user/tokens", body).token(&user.token).send().await;
        assert_eq!(created.status, 201, "{created:?}");
        let id = created.data()["token"]["id"].as_str().unwrap().parse().unwrap();
        (id, created.data()["accessToken"].as_str().unwrap().to_owned())
    }

    /// Requests an instance without waiting for it; returns its id.
    pub async fn request_instance(&self, user: &Caller<UserId>, name: &str) -> InstanceId {
        let request = self.post("/api/v2/user/instance", json!({ "name": name }));
        let answer = request.token(&user.token).header("prefer", "respond-async").send().await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.data()["instanceId"].as_str().unwrap().parse().unwrap()
    }

    /// Requests an instance whose container then runs.
    pub async fn running_instance(&self, user: &Caller<UserId>, name: &str) -> InstanceId {
        let id = self.request_instance(user, name).await;
        self.report(user.id, id, ReportKind::InstanceCreated(observation(Phase::Running))).await;
        id
    }

    /// The keys that may log in to an instance.
    pub async fn keys_of(&self, user_id: UserId, instance_id: InstanceId) -> Vec<String> {
        let tenancy = self.app.executor.state::<Tenancy>(user_id).await.unwrap();
        tenancy.state.instance(instance_id).unwrap().keys().map(str::to_owned).collect()
    }

    /// The agent of the instance's backend refuses the instance.
    pub async fn refuse(&self, user_id: UserId, instance_id: InstanceId) {
        self.report(user_id, instance_id, ReportKind::InstanceRefused(agent_error())).await;
    }

    /// The agent of the instance's backend reports on its current generation.
    pub async fn report(&self, user_id: UserId, instance_id: InstanceId, kind: ReportKind) {
        let tenancy = self.app.executor.state::<Tenancy>(user_id).await.unwrap();
        let instance = tenancy.state.instance(instance_id).unwrap();
        let backend_id = instance.current_placement.as_ref().unwrap().backend_id;
        let (placement, generation) = (instance.placement, instance.generation);
        let facts = Facts {
            now: clock::now(),
            policy: self.app.settings.policy,
            candidates: self.app.follower.fleet().candidates(),
            tie_breaker: tie_breaker(instance_id),
        };
        let sequence = self.reports.fetch_add(1, Ordering::Relaxed) + 1;
        let report = HandleReport {
            backend_id,
            report: Report { instance_id, user_id, placement, generation, kind },
            position: ReportPosition { incarnation: 1, sequence },
            facts,
        };
        self.app.executor.execute(user_id, origin(), report).await.unwrap();
    }
}

/// What an agent observes of a container.
pub fn observation(phase: Phase) -> Observation {
    Observation {
        phase,
        container_id: "c0ffee".parse().unwrap(),
        ports: Ports { ssh: 20_001, http: 20_002, https: 20_003 },
        host_keys: HostKeys::of([HOST_KEY]),
        ended: None,
    }
}

/// Why an agent refuses or fails.
pub fn agent_error() -> AgentError {
    AgentError { code: ShortText::cleaned("image_missing"), message: ShortText::cleaned("the image does not exist") }
}

/// Of what tests do themselves.
pub fn origin() -> Origin {
    Origin::new(Actor::System, "test")
}

/// Stands in for the leader's projectors: [`MemoryReadStore`] always has the whole log.
async fn project(app: Arc<App>) {
    let mut deliveries = app.executor.log().follow(0, Filter::All);
    while let Some(delivery) = deliveries.next().await {
        if let Delivery::Event(recorded) = delivery {
            for model in MODELS {
                app.progress.advance(model.name, recorded.sequence);
            }
        }
    }
}

//! The configuration of the main server: flags and environment variables. `.env.example` explains each variable.

mod accounts;
mod instances;
mod metrics;
mod webhooks;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use dockhost_domain::tenancy::Policy;
use dockhost_environment::settings::Setting;
use dockhost_projections::store::MongoStore;
use ipnet::IpNet;

use crate::broker::connect::check_urls;
use crate::broker::streams::StreamOptions;
use crate::http::app::{Cookies, CrossSite};
use crate::http::events::MaxStreams;
use crate::http::limits::policy::Policy as LimitPolicy;
use crate::http::server::{ConnectionLimits, MaxConnections, StreamTimeouts};

pub use accounts::{AccountArgs, CookieMode, EnrolmentMode, SignUpMode};
pub use instances::InstanceArgs;
pub use metrics::MetricsArgs;
pub use webhooks::WebhookArgs;

/// The database if neither DOCKHOST_DATABASE nor MONGODB_URI names one.
const DEFAULT_DATABASE: &str = "dockhost";

/// What a replica can be configured with, but for its secrets and the servers it connects to.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The API.
    #[command(flatten)]
    pub api: ApiArgs,
    /// Connections of clients.
    #[command(flatten)]
    pub connections: ConnectionArgs,
    /// Who may have an account.
    #[command(flatten)]
    pub accounts: AccountArgs,
    /// Database and event log.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// Instances.
    #[command(flatten)]
    pub instances: InstanceArgs,
    /// Deadlines.
    #[command(flatten)]
    pub deadlines: DeadlineArgs,
    /// Webhooks.
    #[command(flatten)]
    pub webhooks: WebhookArgs,
    /// Metrics.
    #[command(flatten)]
    pub metrics: MetricsArgs,
    /// Not an argument: all settings of this process, as administrators are shown them.
    #[arg(skip)]
    pub in_force: Vec<Setting>,
}

/// Where the API is served, and to whom.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "API")]
pub struct ApiArgs {
    /// Port of the API.
    #[arg(long, env = "PORT", default_value_t = 3001)]
    pub port: u16,
    /// Address that the API listens on [default: 0.0.0.0; in `dockhost dev` 127.0.0.1, unless it has --listen].
    #[arg(long, env = "DOCKHOST_BIND", value_name = "ADDRESS")]
    pub bind: Option<IpAddr>,
    /// URLs of the web frontends; browsers may call the API from their origins with credentials.
    #[arg(long, env = "FRONTEND_URL", value_name = "URL", value_delimiter = ',', value_parser = parse_origin)]
    pub frontend_url: Vec<String>,
    /// Limits of requests, such as `signin=100/m,read=off`, or `off` for none [default: see `.env.example`].
    #[arg(long, env = "DOCKHOST_RATE_LIMITS", value_name = "LIMITS")]
    pub rate_limits: Option<LimitPolicy>,
    /// Milliseconds for which queries are answered while this server is cut off from the broker.
    #[arg(long, env = "DOCKHOST_READS_WITHOUT_BROKER_MS", value_name = "MS", default_value_t = 60_000)]
    pub reads_without_broker_ms: u64,
    /// Networks of the proxies in front of this server; only their `X-Forwarded-For` is believed.
    #[arg(long, env = "DOCKHOST_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Serve the API's document at /api/openapi.json and its pages at /api/docs.
    #[arg(long, env = "DOCKHOST_API_DOCS", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub api_docs: bool,
    /// Serve backends that speak Socket.IO, as those of DockHostV2 do.
    #[arg(long, env = "DOCKHOST_SOCKETIO_BACKENDS", value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set)]
    pub socketio_backends: bool,
}

/// How many connections clients may have.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "API")]
pub struct ConnectionArgs {
    /// Connections to the API at once, in all; further ones are closed.
    #[arg(long, env = "DOCKHOST_MAX_CONNECTIONS", value_name = "N", default_value_t = MaxConnections::default().total)]
    pub max_connections: usize,
    /// Connections to the API at once from one address or IPv6 /64 network; trusted proxies are exempt.
    #[arg(
        long,
        env = "DOCKHOST_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "N",
        default_value_t = MaxConnections::default().per_address
    )]
    pub max_connections_per_address: usize,
    /// Event streams at once, in all [default: three quarters of DOCKHOST_MAX_CONNECTIONS].
    #[arg(long, env = "DOCKHOST_MAX_EVENT_STREAMS", value_name = "N")]
    pub max_event_streams: Option<usize>,
    /// Event streams of one user at once.
    #[arg(long, env = "DOCKHOST_MAX_EVENT_STREAMS_PER_USER", value_name = "N", default_value_t = 10)]
    pub max_event_streams_per_user: usize,
}

/// Where the server stores data.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Storage")]
pub struct StorageArgs {
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The streams.
    #[command(flatten)]
    pub streams: StreamArgs,
    /// Accept a nats-server older than 2.15.1, which is several times slower on three nodes.
    #[arg(long, env = "DOCKHOST_ALLOW_OLD_BROKER", value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set)]
    pub allow_old_broker: bool,
}

/// The database, which holds the read models.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Storage")]
pub struct DatabaseArgs {
    /// Name of the database [default: the one in MONGODB_URI, else dockhost].
    #[arg(long = "database", env = "DOCKHOST_DATABASE", value_name = "NAME")]
    pub database: Option<String>,
}

/// The streams of the broker, which hold the event log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Storage")]
pub struct StreamArgs {
    /// Copies of each stream [default: 3 on a cluster, 1 on a single node].
    #[arg(long, env = "DOCKHOST_REPLICAS", value_name = "N")]
    pub replicas: Option<usize>,
    /// Size limit of the event log in bytes; when it is reached, commands fail with `log_full`.
    #[arg(long, env = "DOCKHOST_LOG_MAX_BYTES", value_name = "BYTES", default_value_t = StreamOptions::default().max_bytes)]
    pub log_max_bytes: i64,
}

/// How long backends may take.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Deadlines")]
pub struct DeadlineArgs {
    /// Milliseconds that a backend has to create a container before the server tries another backend.
    #[arg(long, env = "DOCKHOST_CREATE_WITHIN_MS", value_name = "MS", default_value_t = 15_000)]
    pub create_within_ms: u64,
    /// Milliseconds that a backend has to stop a container.
    #[arg(long, env = "DOCKHOST_STOP_WITHIN_MS", value_name = "MS", default_value_t = 30_000)]
    pub stop_within_ms: u64,
    /// Milliseconds that a backend has to resume a container.
    #[arg(long, env = "DOCKHOST_RESUME_WITHIN_MS", value_name = "MS", default_value_t = 30_000)]
    pub resume_within_ms: u64,
    /// Milliseconds that a backend has to remove a container.
    #[arg(long, env = "DOCKHOST_DELETE_WITHIN_MS", value_name = "MS", default_value_t = 30_000)]
    pub delete_within_ms: u64,
    /// Milliseconds without a heartbeat after which a backend counts as lost.
    #[arg(long, env = "DOCKHOST_LOST_AFTER_MS", value_name = "MS", default_value_t = 15_000)]
    pub lost_after_ms: u64,
    /// Milliseconds for which a backend is lost before its instances that are not to wait for it are recreated elsewhere.
    #[arg(long, env = "DOCKHOST_RECREATE_AFTER_MS", value_name = "MS", default_value_t = 300_000)]
    pub recreate_after_ms: u64,
}

/// The servers to connect to. Not in [`ServerArgs`]: `dockhost dev` starts its own.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct ServiceUrls {
    /// The broker, `nats://host:port`; several URLs are separated by commas.
    #[arg(
        long,
        env = "NATS_URL",
        value_name = "URL",
        default_value = "nats://127.0.0.1:4222",
        hide_env_values = true,
        value_parser = parse_broker_urls
    )]
    pub nats_url: String,
    /// The database, `mongodb://…`; it must be a replica set.
    #[arg(
        long,
        env = "MONGODB_URI",
        value_name = "URI",
        default_value = "mongodb://127.0.0.1:27017/?directConnection=true",
        hide_env_values = true,
        value_parser = parse_database_uri
    )]
    pub mongodb_uri: String,
}

impl ApiArgs {
    /// Address and port; `default` is the address if none is configured.
    #[must_use]
    pub fn address(&self, default: Ipv4Addr) -> SocketAddr {
        SocketAddr::new(self.bind.unwrap_or(default.into()), self.port)
    }
}

impl ConnectionArgs {
    /// The limits of event streams. By default, they leave connections for everything else.
    #[must_use]
    pub fn event_streams(&self) -> MaxStreams {
        let total = self.max_event_streams.unwrap_or(self.max_connections / 4 * 3);
        MaxStreams { total, per_user: self.max_event_streams_per_user }
    }
}

impl DatabaseArgs {
    /// The name of the database: the one that is configured, else the one in MONGODB_URI.
    #[must_use]
    pub fn name(&self, urls: &ServiceUrls) -> String {
        let configured = self.database.clone().or_else(|| MongoStore::database_in(&urls.mongodb_uri));
        configured.unwrap_or_else(|| DEFAULT_DATABASE.to_owned())
    }
}

impl ServerArgs {
    /// The limits of connections.
    #[must_use]
    pub fn connection_limits(&self) -> ConnectionLimits {
        let ConnectionArgs { max_connections: total, max_connections_per_address: per_address, .. } = self.connections;
        ConnectionLimits {
            max: MaxConnections { total, per_address },
            trusted_proxies: self.api.trusted_proxies.clone(),
            timeouts: StreamTimeouts::default(),
        }
    }
}

impl ServerArgs {
    /// Whether and how sessions are kept in cookies, and when their cookies have `SameSite=None`.
    #[must_use]
    pub fn cookies(&self, is_tls: bool) -> (Cookies, CrossSite) {
        let has_tls = is_tls || self.api.frontend_url.iter().any(|origin| origin.starts_with("https://"));
        let cookies = if has_tls { Cookies::Secure } else { Cookies::Plain };
        match self.accounts.cookies {
            CookieMode::Auto => (cookies, CrossSite::ByRequest),
            CookieMode::Lax => (cookies, CrossSite::Never),
            CookieMode::None => (Cookies::Secure, CrossSite::Always),
            CookieMode::Off => (Cookies::Off, CrossSite::Never),
        }
    }
}

impl StreamArgs {
    /// The options of the streams.
    #[must_use]
    pub const fn options(&self) -> StreamOptions {
        StreamOptions { replicas: self.replicas, max_bytes: self.log_max_bytes }
    }
}

impl DeadlineArgs {
    /// The deadlines of operations.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            create_within: Duration::from_millis(self.create_within_ms),
            stop_within: Duration::from_millis(self.stop_within_ms),
            resume_within: Duration::from_millis(self.resume_within_ms),
            delete_within: Duration::from_millis(self.delete_within_ms),
            recreate_after: Duration::from_millis(self.recreate_after_ms),
            ..Policy::default()
        }
    }

    /// The time without a heartbeat after which a backend counts as lost.
    #[must_use]
    pub const fn lost_after(&self) -> Duration {
        Duration::from_millis(self.lost_after_ms)
    }
}

impl ServiceUrls {
    /// The hosts of the broker, without credentials.
    #[must_use]
    pub fn broker_hosts(&self) -> String {
        self.nats_url.split(',').map(hosts).collect::<Vec<_>>().join(",")
    }

    /// The hosts of the database, without credentials and options.
    #[must_use]
    pub fn database_hosts(&self) -> &str {
        hosts(&self.mongodb_uri)
    }
}

/// The hosts and ports of a URL.
fn hosts(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts)
}

/// A network, or a single address.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    parsed.map_err(|_| "it must be an address or a network such as 10.0.0.0/24".to_owned())
}

/// Checks the URLs of the broker at once: a connection to an invalid one would be retried until the start gives up.
fn parse_broker_urls(urls: &str) -> Result<String, String> {
    check_urls(urls).map(|()| urls.to_owned())
}

/// Checks the address of the database; the error does not quote it, because it may contain a password.
fn parse_database_uri(uri: &str) -> Result<String, String> {
    let is_valid = MongoStore::is_address(uri);
    is_valid.then(|| uri.to_owned()).ok_or_else(|| "it is not of the form mongodb://host:port/".to_owned())
}

/// The origin of a URL, as browsers send it: without path, and without the scheme's default port.
fn parse_origin(url: &str) -> Result<String, String> {
    let origin = reqwest::Url::parse(url.trim()).ok().map(|url| url.origin());
    match origin {
        Some(origin) if origin.is_tuple() => Ok(origin.ascii_serialization()),
        _ => Err("it must be a URL such as https://app.example.org; several are separated by commas".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::auth::admission::SignUp;

    #[derive(Parser)]
    struct Server {
        #[command(flatten)]
        args: ServerArgs,
    }

    fn parse(args: &[&str]) -> ServerArgs {
        Server::parse_from(std::iter::once(&"server").chain(args)).args
    }

    #[test]
    fn quota_is_five_by_default_and_none_for_zero() {
        for (args, quota) in
            [(&[][..], Some(5)), (&["--max-instances-per-user=0"], None), (&["--max-instances-per-user=7"], Some(7))]
        {
            assert_eq!(parse(args).instances.quota(), quota, "{args:?}");
        }
    }

    #[test]
    fn rate_limits_and_trusted_proxies_are_parsed() {
        let ServerArgs { api, .. } =
            parse(&["--rate-limits=signin=5/m,read=off", "--trusted-proxies=10.0.0.0/24, ::1"]);
        assert_eq!(api.rate_limits, Some("read=off,signin=5/m".parse().unwrap()));
        assert_eq!(api.trusted_proxies, ["10.0.0.0/24", "::1/128"].map(|network| network.parse().unwrap()));
        for arg in ["--rate-limits=signin=5", "--trusted-proxies=balancer"] {
            assert!(Server::try_parse_from(["server", arg]).is_err(), "{arg} was accepted");
        }
    }

    #[test]
    fn sign_up_is_open_by_default_and_by_invitation_with_or_without_codes() {
        assert!(matches!(parse(&[]).accounts.sign_up(), SignUp::Open));
        assert!(matches!(parse(&["--signup=closed"]).accounts.sign_up(), SignUp::Closed));
        assert!(parse(&["--signup=invite"]).accounts.sign_up().admit(Some(""), false).is_err());
        let invite = parse(&["--signup=invite", "--invite-codes=biology-7b,chemistry-8a"]).accounts.sign_up();
        assert_eq!(invite.admit(Some("chemistry-8a"), false), Ok(()));
    }

    #[test]
    fn event_streams_leave_a_quarter_of_the_connections_by_default() {
        let streams = |args: &[&str]| parse(args).connections.event_streams();
        assert_eq!(streams(&[]), MaxStreams { total: 3072, per_user: 10 });
        assert_eq!(streams(&["--max-connections=100"]).total, 75);
        let both = ["--max-event-streams=5", "--max-event-streams-per-user=2"];
        assert_eq!(streams(&both), MaxStreams { total: 5, per_user: 2 });
    }

    #[test]
    fn socketio_backends_are_off_by_default() {
        assert!(!parse(&[]).api.socketio_backends);
        assert!(parse(&["--socketio-backends=true"]).api.socketio_backends);
    }

    #[test]
    fn parse_origin_keeps_scheme_host_and_port_only() {
        assert_eq!(parse_origin("https://App.example.org:443/start?x=1").unwrap(), "https://app.example.org");
        assert_eq!(parse_origin("http://localhost:5173/").unwrap(), "http://localhost:5173");
        for text in ["", "app.example.org", "localhost:5173", "file:///tmp", "*"] {
            assert!(parse_origin(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn frontend_url_of_several_has_the_origin_of_each() {
        let args = parse(&["--frontend-url=https://app.example.org/start, http://localhost:3000"]);
        assert_eq!(args.api.frontend_url, ["https://app.example.org", "http://localhost:3000"]);
        assert!(Server::try_parse_from(["server", "--frontend-url=https://app.example.org,*"]).is_err());
    }

    #[test]
    fn cookies_follow_the_mode_tls_and_the_frontends() {
        let cookies = |args: &[&str], is_tls| parse(args).cookies(is_tls);
        let (by_request, never) = (CrossSite::ByRequest, CrossSite::Never);
        for (args, is_tls, expected) in [
            (&[][..], false, (Cookies::Plain, by_request)),
            (&[], true, (Cookies::Secure, by_request)),
            (&["--frontend-url=http://localhost:3000"], false, (Cookies::Plain, by_request)),
            (&["--frontend-url=http://localhost:3000,https://app.example.org"], false, (Cookies::Secure, by_request)),
            (&["--cookies=on"], false, (Cookies::Plain, by_request)),
            (&["--cookies=lax"], true, (Cookies::Secure, never)),
            // Browsers refuse `SameSite=None` without `Secure`.
            (&["--cookies=none"], false, (Cookies::Secure, CrossSite::Always)),
            (&["--cookies=off"], true, (Cookies::Off, never)),
        ] {
            assert_eq!(cookies(args, is_tls), expected, "{args:?} {is_tls}");
        }
    }

    #[test]
    fn database_args_name_is_the_configured_one_else_that_of_the_uri() {
        let name = |database: Option<&str>, uri: &str| {
            let urls = ServiceUrls { nats_url: String::new(), mongodb_uri: uri.to_owned() };
            DatabaseArgs { database: database.map(str::to_owned) }.name(&urls)
        };
        let with_name = "mongodb://user:p%40ss@mongo-1:27017/dockhost_v2?replicaSet=rs0";
        assert_eq!(name(None, with_name), "dockhost_v2");
        assert_eq!(name(Some("other"), with_name), "other");
        // Credentials are often in `admin`; no read model belongs there.
        assert_eq!(name(None, "mongodb://user:pass@mongo-1/admin"), "dockhost");
        assert_eq!(name(None, "mongodb://mongo-1:27017/?directConnection=true"), "dockhost");
    }

    #[test]
    fn service_urls_hosts_have_no_credentials() {
        let urls = ServiceUrls {
            nats_url: "nats://user:pass@nats-1:4222,nats-2:4222".to_owned(),
            mongodb_uri: "mongodb://user:p%40ss@mongo-1:27017,mongo-2:27017/?replicaSet=rs0".to_owned(),
        };
        assert_eq!(urls.broker_hosts(), "nats-1:4222,nats-2:4222");
        assert_eq!(urls.database_hosts(), "mongo-1:27017,mongo-2:27017");
    }
}

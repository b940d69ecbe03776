//! The configuration: environment and flags, read once, all of it checked before anything starts.
//!
//! In: text. Out: typed settings, or one message that names everything that is missing or wrong. Secrets come by the
//! environment only: a flag would show in the process list.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use dockhost_domain::tenancy::Policy;
use dockhost_domain::wire::Limits;
use secrecy::{ExposeSecret, SecretString};

use crate::broker::streams::StreamOptions;
use crate::sealing::MasterKey;

const MIN_SECRET_LENGTH: usize = 32;

/// What can be set; `.env.example` explains each.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The port that the API is served on.
    #[arg(long, env = "PORT", default_value_t = 3001)]
    pub port: u16,
    /// The address that the API is served on.
    #[arg(long, env = "DOCKHOST_BIND", default_value = "0.0.0.0")]
    pub bind: std::net::IpAddr,
    /// The URL of the web frontend, whose origin may call with credentials.
    #[arg(long, env = "FRONTEND_URL", value_parser = parse_origin)]
    pub frontend_url: Option<String>,
    /// The database's name.
    #[arg(long, env = "DOCKHOST_DATABASE", default_value = "dockhost")]
    pub database: String,
    /// Copies of each stream; three on a cluster, one on a lone node, if not given.
    #[arg(long, env = "DOCKHOST_REPLICAS")]
    pub replicas: Option<usize>,
    /// Bytes that the event log may take; beyond, writes are refused with `log_full`.
    #[arg(long, env = "DOCKHOST_LOG_MAX_BYTES", default_value_t = 10 << 30)]
    pub log_max_bytes: i64,
    /// Instances that a user may have; no limit if not given.
    #[arg(long, env = "DOCKHOST_MAX_INSTANCES_PER_USER")]
    pub max_instances_per_user: Option<u32>,
    /// The image of new instances; each agent's own if not given.
    #[arg(long, env = "DOCKHOST_INSTANCE_IMAGE")]
    pub instance_image: Option<String>,
    /// Memory of an instance, in MiB.
    #[arg(long, env = "DOCKHOST_INSTANCE_MEMORY_MIB", default_value_t = 1024)]
    pub instance_memory_mib: u32,
    /// Processor of an instance, in thousandths of one.
    #[arg(long, env = "DOCKHOST_INSTANCE_CPU_MILLIS", default_value_t = 1000)]
    pub instance_cpu_millis: u32,
    /// Processes and threads of an instance.
    #[arg(long, env = "DOCKHOST_INSTANCE_PIDS", default_value_t = 512)]
    pub instance_pids: u32,
    /// Milliseconds that a backend has to make a container before another is tried.
    #[arg(long, env = "DOCKHOST_CREATE_WITHIN_MS", default_value_t = 15_000)]
    pub create_within_ms: u64,
    /// Milliseconds that a backend has to stop a container.
    #[arg(long, env = "DOCKHOST_STOP_WITHIN_MS", default_value_t = 30_000)]
    pub stop_within_ms: u64,
    /// Milliseconds that a backend has to start a container again.
    #[arg(long, env = "DOCKHOST_RESUME_WITHIN_MS", default_value_t = 30_000)]
    pub resume_within_ms: u64,
    /// Milliseconds that a backend has to remove a container.
    #[arg(long, env = "DOCKHOST_DELETE_WITHIN_MS", default_value_t = 30_000)]
    pub delete_within_ms: u64,
    /// Milliseconds of silence after which a backend counts as lost.
    #[arg(long, env = "DOCKHOST_LOST_AFTER_MS", default_value_t = 15_000)]
    pub lost_after_ms: u64,
}

/// The servers to connect to, and the secrets. Not in `ServerArgs`: the embedded servers bring their own.
#[derive(Debug, Clone, Args)]
pub struct ServiceUrls {
    /// The broker, `nats://host:port`, several with commas between.
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    pub nats_url: String,
    /// The database, `mongodb://…`; a replica set.
    #[arg(
        long,
        env = "MONGODB_URI",
        default_value = "mongodb://127.0.0.1:27017/?directConnection=true",
        hide_env_values = true
    )]
    pub mongodb_uri: String,
}

/// Everything that is wrong with the secrets.
#[derive(Debug, thiserror::Error)]
#[error("the server can't start, because of its environment:\n{}", .0.iter().map(|wrong| format!("  - {wrong}")).collect::<Vec<_>>().join("\n"))]
pub struct InvalidSecrets(Vec<String>);

/// The secrets of the main server, checked.
pub struct Secrets {
    /// Signs users' tokens.
    pub user_tokens: SecretString,
    /// Signs backends' tokens and API keys.
    pub backend_tokens: SecretString,
    /// Wraps the keys of personal data.
    pub master_key: MasterKey,
    /// The server's nkey seed at the broker.
    pub nats: SecretString,
    /// The seed that signs backends in at the broker.
    pub callout: SecretString,
    /// The system account's nkey seed, if it was given.
    pub nats_system: Option<SecretString>,
}

impl Secrets {
    /// Reads and checks all secrets; `get` looks a variable up.
    ///
    /// # Errors
    /// [`InvalidSecrets`] naming every secret that is missing or invalid, without its value.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidSecrets> {
        let secret = |name: &str| SecretString::from(get(name).unwrap_or_default());
        let user_tokens = secret("USER_ACCESS_TOKEN_SECRET");
        let backend_tokens = secret("BACKEND_ACCESS_TOKEN_SECRET");
        let master_key = secret("DOCKHOST_MASTER_KEY");
        let nats = secret("DOCKHOST_NATS_CREDS");
        let callout = secret("DOCKHOST_CALLOUT_SEED");
        let nats_system = get("DOCKHOST_NATS_SYS_CREDS").filter(|seed| !seed.is_empty()).map(SecretString::from);

        let mut problems = Vec::new();
        for (name, secret) in
            [("USER_ACCESS_TOKEN_SECRET", &user_tokens), ("BACKEND_ACCESS_TOKEN_SECRET", &backend_tokens)]
        {
            match secret.expose_secret().len() {
                0 => problems
                    .push(format!("{name} is missing: set it to at least {MIN_SECRET_LENGTH} random characters")),
                length if length < MIN_SECRET_LENGTH => {
                    problems.push(format!("{name} has {length} characters: it needs at least {MIN_SECRET_LENGTH}"));
                }
                _ => {}
            }
        }
        if !user_tokens.expose_secret().is_empty() && user_tokens.expose_secret() == backend_tokens.expose_secret() {
            problems.push("USER_ACCESS_TOKEN_SECRET and BACKEND_ACCESS_TOKEN_SECRET must differ".to_owned());
        }
        for (name, secret) in [("DOCKHOST_NATS_CREDS", &nats), ("DOCKHOST_CALLOUT_SEED", &callout)] {
            if secret.expose_secret().is_empty() {
                problems.push(format!("{name} is missing: set it to an nkey seed (`dockhost secrets` generates one)"));
            } else if nkeys::KeyPair::from_seed(secret.expose_secret()).is_err() {
                problems.push(format!("{name} is not an nkey seed"));
            }
        }
        let parsed_key = master_key.expose_secret().parse::<MasterKey>();
        if let Err(error) = &parsed_key {
            let problem =
                if master_key.expose_secret().is_empty() { "is missing".to_owned() } else { error.to_string() };
            problems.push(format!("DOCKHOST_MASTER_KEY: {problem}; it must be 32 random bytes in base64"));
        }
        match parsed_key {
            Ok(master_key) if problems.is_empty() => {
                Ok(Self { user_tokens, backend_tokens, master_key, nats, callout, nats_system })
            }
            _ => Err(InvalidSecrets(problems)),
        }
    }
}

/// The origin of a URL, as browsers send it: without path, without the usual port. Empty counts as absent.
fn parse_origin(url: &str) -> Result<String, String> {
    if url.is_empty() {
        return Ok(String::new());
    }
    let origin = reqwest::Url::parse(url).map_err(|error| error.to_string())?.origin();
    if origin.is_tuple() { Ok(origin.ascii_serialization()) } else { Err("it needs http:// or https://".to_owned()) }
}

impl ServerArgs {
    /// The origin of the web frontend.
    pub fn frontend(&self) -> Option<String> {
        self.frontend_url.clone().filter(|origin| !origin.is_empty())
    }

    /// Where the API is served.
    pub const fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }

    /// How long things may take.
    pub fn policy(&self) -> Policy {
        Policy {
            create_within: Duration::from_millis(self.create_within_ms),
            stop_within: Duration::from_millis(self.stop_within_ms),
            resume_within: Duration::from_millis(self.resume_within_ms),
            delete_within: Duration::from_millis(self.delete_within_ms),
            ..Policy::default()
        }
    }

    /// What a container may use.
    pub const fn limits(&self) -> Limits {
        Limits { memory_mib: self.instance_memory_mib, cpu_millis: self.instance_cpu_millis, pids: self.instance_pids }
    }

    /// The streams' settings.
    pub const fn streams(&self) -> StreamOptions {
        StreamOptions { replicas: self.replicas, max_bytes: self.log_max_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frontend_is_known_by_its_origin() {
        assert_eq!(parse_origin("https://App.example.org:443/start?x=1").unwrap(), "https://app.example.org");
        assert_eq!(parse_origin("http://localhost:5173/").unwrap(), "http://localhost:5173");
        assert_eq!(parse_origin("").unwrap(), "");
        for text in ["app.example.org", "localhost:5173", "file:///tmp", "*"] {
            assert!(parse_origin(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_and_nothing_secret_is_shown() {
        let refused = Secrets::read(|name| match name {
            "USER_ACCESS_TOKEN_SECRET" => Some("tooshort".to_owned()),
            "DOCKHOST_NATS_CREDS" => Some("no-seed".to_owned()),
            _ => None,
        });
        let Err(refused) = refused else { panic!("bad secrets were accepted") };
        let text = refused.to_string();
        for name in [
            "USER_ACCESS_TOKEN_SECRET has 8",
            "BACKEND_ACCESS_TOKEN_SECRET is missing",
            "DOCKHOST_NATS_CREDS is not",
            "DOCKHOST_CALLOUT_SEED is missing",
            "DOCKHOST_MASTER_KEY: is missing",
        ] {
            assert!(text.contains(name), "{name} is not in: {text}");
        }
        assert!(!text.contains("tooshort") && !text.contains("no-seed"), "{text}");
    }
}

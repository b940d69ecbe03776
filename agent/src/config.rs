//! What the agent is told: flags and environment in one struct, which is also the help text.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;
use clap::{Parser, ValueEnum};

use crate::key::UnparsedApiKey;
use crate::ports::PortRange;

/// What runs the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RuntimeKind {
    /// Docker or Podman, over its socket.
    Docker,
    /// Nothing runs; the agent only behaves as if.
    Simulated,
}

/// The DockHost agent: makes this machine a backend that runs people's instances.
///
/// It needs the DOCKHOST_API_KEY that `POST /api/v2/backend/signup` (or `signin`) gave for this machine, and Docker or
/// Podman. Stopping the agent leaves all containers as they are; a restarted one finds them again.
#[derive(Debug, Parser)]
#[command(name = "dockhost-agent", version, max_term_width = 100)]
pub struct Config {
    /// The key of this backend.
    #[arg(long, env = "DOCKHOST_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: UnparsedApiKey,

    /// Where the broker is; several with commas between them.
    #[arg(
        long,
        env = "NATS_URL",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats_url: Vec<ServerAddr>,

    /// The address at which people reach this machine's ports; found out by itself when absent.
    #[arg(long, env = "LAN_IP", value_name = "ADDRESS")]
    pub lan_ip: Option<String>,

    /// What runs the containers; Docker or Podman when one answers.
    #[arg(long, env = "DOCKHOST_RUNTIME", value_enum)]
    pub runtime: Option<RuntimeKind>,

    /// The engine's socket, as `unix:///path`; else the usual places of Docker and Podman are tried.
    #[arg(long, env = "DOCKER_HOST", value_name = "URL")]
    pub docker_host: Option<String>,

    /// The image of instances whose assignment names none.
    #[arg(long, env = "DOCKHOST_IMAGE", value_name = "IMAGE", default_value = "dockhost/instance:latest")]
    pub image: String,

    /// The host ports that containers may publish, three each.
    #[arg(long, env = "DOCKHOST_PORTS", value_name = "FIRST-LAST", default_value = "20000-29999")]
    pub ports: PortRange,

    /// At most this many containers, running or not; the backend's enrolment may allow fewer.
    #[arg(long, env = "DOCKHOST_MAX_CONTAINERS", value_name = "N", default_value_t = u32::MAX, hide_default_value = true)]
    pub max_containers: u32,

    /// Let instances connect to this machine's own addresses and to private networks.
    #[arg(long, env = "DOCKHOST_ALLOW_PRIVATE_NETWORKS")]
    pub allow_private_networks: bool,

    /// Where the simulated runtime keeps its containers.
    #[arg(long, env = "DOCKHOST_STATE_DIR", value_name = "DIR", default_value = ".dockhost-agent")]
    pub state_dir: PathBuf,

    /// The simulated runtime refuses every new container.
    #[arg(long, env = "DOCKHOST_SIMULATE_REFUSE")]
    pub simulate_refuse: bool,

    /// How long each act of the simulated runtime takes, in milliseconds.
    #[arg(long, env = "DOCKHOST_SIMULATE_DELAY_MS", value_name = "MS", default_value_t = 0)]
    pub simulate_delay_ms: u64,

    /// How often everything is compared with what the runtime lists, in milliseconds.
    #[arg(long, env = "DOCKHOST_RECONCILE_MS", value_name = "MS", default_value_t = 10_000)]
    pub reconcile_ms: u64,

    /// End with code 3 when the broker refuses the key, instead of trying again.
    #[arg(long, env = "DOCKHOST_EXIT_ON_REFUSED")]
    pub exit_on_refused: bool,
}

impl Config {
    /// How long each act of the simulated runtime takes.
    #[must_use]
    pub const fn simulate_delay(&self) -> Duration {
        Duration::from_millis(self.simulate_delay_ms)
    }

    /// How often everything is compared.
    #[must_use]
    pub fn resync_interval(&self) -> Duration {
        Duration::from_millis(self.reconcile_ms.max(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Config::command().debug_assert();
    }
}

//! The agent's configuration: command-line flags, environment variables and help text in one struct.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;
use clap::{Parser, ValueEnum};
use dockhost_domain::reported::{BackendAddress, Invalid};

use crate::key::UnparsedApiKey;
use crate::ports::PortRange;

/// The container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RuntimeKind {
    /// Docker or Podman, through its socket.
    Docker,
    /// No real containers: the agent only records what it would run.
    Simulated,
}

/// The DockHost agent: makes this machine a backend that runs users' instances.
///
/// It needs Docker or Podman, and the DOCKHOST_API_KEY that `POST /api/v2/backend/signup` (or `signin`) returned for
/// this machine. Stopping the agent does not stop the containers; after a restart it finds them again.
#[derive(Debug, Parser)]
#[command(name = "dockhost-agent", version = dockhost_environment::VERSION, max_term_width = 100)]
pub struct Config {
    /// API key of this backend.
    #[arg(long, env = "DOCKHOST_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: UnparsedApiKey,

    /// Broker URLs, separated by commas: `nats://` or `tls://`, or all of them `ws://` or `wss://`.
    #[arg(
        long,
        env = "NATS_URL",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats_url: Vec<ServerAddr>,

    /// Address at which users reach this machine's ports; detected if absent.
    #[arg(long, env = "LAN_IP", value_name = "ADDRESS", value_parser = pasted_address)]
    pub lan_ip: Option<BackendAddress>,

    /// Container runtime; by default Docker or Podman, whichever is found.
    #[arg(long, env = "DOCKHOST_RUNTIME", value_enum)]
    pub runtime: Option<RuntimeKind>,

    /// Socket of the engine, as `unix:///path`; by default the standard sockets of Docker and Podman are tried.
    #[arg(long, env = "DOCKER_HOST", value_name = "URL")]
    pub docker_host: Option<String>,

    /// Image for instances whose assignment names none.
    #[arg(long, env = "DOCKHOST_IMAGE", value_name = "IMAGE", default_value = "dockhost/instance:latest")]
    pub image: String,

    /// Host ports that containers may publish, three per container.
    #[arg(long, env = "DOCKHOST_PORTS", value_name = "FIRST-LAST", default_value_t = PortRange::default())]
    pub ports: PortRange,

    /// Maximum number of containers, running or not; the limit given at sign-up may be lower.
    #[arg(long, env = "DOCKHOST_MAX_CONTAINERS", value_name = "N", default_value_t = u32::MAX, hide_default_value = true)]
    pub max_containers: u32,

    /// Memory for instances, in MiB [default: all that the machine has].
    #[arg(long, env = "DOCKHOST_MEMORY_MIB", value_name = "MIB")]
    pub memory_mib: Option<u32>,

    /// Processor time for instances, in thousandths of a processor [default: all processors of the machine].
    #[arg(long, env = "DOCKHOST_CPU_MILLIS", value_name = "MILLIS")]
    pub cpu_millis: Option<u32>,

    /// Allow instances to connect to this machine and to private networks.
    #[arg(long, env = "DOCKHOST_ALLOW_PRIVATE_NETWORKS")]
    pub allow_private_networks: bool,

    /// Directory of the keys that may log in to containers, of a new API key that the server has given, and of the containers
    /// of the simulated runtime.
    #[arg(long, env = "DOCKHOST_STATE_DIR", value_name = "DIR", default_value = ".dockhost-agent")]
    pub state_dir: PathBuf,

    /// The simulated runtime loses its image before each creation, so the agent refuses every new instance (`image_missing`).
    #[arg(long, env = "DOCKHOST_SIMULATE_REFUSE")]
    pub simulate_refuse: bool,

    /// Duration of each create, start and stop of the simulated runtime, in milliseconds.
    #[arg(long, env = "DOCKHOST_SIMULATE_DELAY_MS", value_name = "MS", default_value_t = 0)]
    pub simulate_delay_ms: u64,

    /// Interval at which all assignments are compared with the runtime's containers, in milliseconds.
    #[arg(long, env = "DOCKHOST_RECONCILE_MS", value_name = "MS", default_value_t = 10_000)]
    pub reconcile_ms: u64,

    /// Exit with code 3 if the broker refuses the key, instead of retrying.
    #[arg(long, env = "DOCKHOST_EXIT_ON_REFUSED")]
    pub exit_on_refused: bool,

    /// Print the containers of this backend in the container engine, and exit.
    #[arg(long)]
    pub list_containers: bool,

    /// Remove the containers of this backend with their files, and exit. Stop its agent first.
    #[arg(long, conflicts_with = "list_containers")]
    pub remove_containers: bool,
}

/// An address as people paste it: with blanks, the line's end of another system, or quotes around it.
fn pasted_address(text: &str) -> Result<BackendAddress, Invalid> {
    let text = text.trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(text);
    unquoted.trim().parse()
}

impl Config {
    /// Duration of each create, start and stop of the simulated runtime.
    #[must_use]
    pub const fn simulate_delay(&self) -> Duration {
        Duration::from_millis(self.simulate_delay_ms)
    }

    /// Interval between two comparisons of all assignments; at least 100 ms.
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
    fn config_command_line_definition_is_valid() {
        Config::command().debug_assert();
    }

    #[test]
    fn pasted_address_is_trimmed_and_unquoted() {
        for text in ["10.0.0.1", " 10.0.0.1 ", "10.0.0.1\r", "\"10.0.0.1\"", "'10.0.0.1'\r\n"] {
            assert_eq!(pasted_address(text).unwrap().as_str(), "10.0.0.1", "{text:?}");
        }
        assert_eq!(pasted_address("fe80::1%eth0").unwrap().as_str(), "fe80::1%eth0");
    }

    /// The error of a program names the variable; this is the reason after it.
    #[test]
    fn pasted_address_that_is_more_than_an_address_says_what_to_leave_out() {
        for (text, part) in [
            ("[fd77::2]", "without brackets"),
            ("[fd77::2]:22", "without brackets"),
            ("http://box.lan", "without a scheme"),
            ("192.168.1.5:22", "without a port"),
            ("box:22", "without a port"),
            ("a;touch x", "letters, digits"),
            (" ", "is empty"),
            ("\"10.0.0.1", "letters, digits"),
        ] {
            let error = pasted_address(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        let error = Config::try_parse_from(["dockhost-agent", "--lan-ip", "http://box.lan"]).unwrap_err().to_string();
        assert!(error.contains("--lan-ip") && error.contains("without a scheme"), "{error}");
    }
}

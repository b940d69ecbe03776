//! Connects the agent's parts and runs them until shutdown.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use dockhost_domain::ids::BackendId;
use dockhost_domain::room::Resources;
use dockhost_domain::wire::MachineSize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::assignments::{Session, receive_assignments};
use crate::capacity::Capacity;
use crate::clock;
use crate::config::{Config, RuntimeKind};
use crate::confirm::ConfirmClient;
use crate::connect::{ConnectError, ReportPublisher, ServerAddr, connect};
use crate::container::Container;
use crate::heartbeat::{AdvertisedAddress, HeartbeatSource, Vitals, run_heartbeats, say_goodbye};
use crate::hold::Hold;
use crate::key_store::KeyStore;
use crate::machine_size;
use crate::machine_status::SharedStatus;
use crate::nodes::leave_nodes;
use crate::reconcile::{ReconcileConfig, Reconciler};
use crate::reports::Outbox;
use crate::reports_stream::ReportsStream;
use crate::runtime::Runtime;
use crate::runtime::docker::{self, DockerRuntime};
use crate::runtime::simulated::{SimulatedRuntime, SimulationOptions};
use crate::ssh_watch::SharedSshWatch;

/// Time from the stop until [`run`] returns, whatever does not answer then: the engine, the broker or a name server.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(1500);
/// Time for the client to write its last messages. Without a connection it would wait for the next one.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// An agent, but for its runtime.
pub struct Agent {
    /// The broker.
    pub servers: Vec<ServerAddr>,
    /// The backend's key.
    pub keys: KeyStore,
    /// Whether the agent ends when the broker refuses the key, instead of trying again.
    pub exit_on_refused: bool,
    /// The most containers.
    pub max_containers: u32,
    /// What the machine has for containers, if that is known.
    pub size: Option<MachineSize>,
    /// Where clients reach the machine.
    pub address: AdvertisedAddress,
    /// The machine's load and memory.
    pub vitals: Vitals,
    /// Limits and intervals.
    pub reconcile: ReconcileConfig,
}

/// Runs the agent of this configuration until `stop`. It leaves the containers as they are.
///
/// # Errors
/// If no runtime is available, or if the broker refuses the key and `--exit-on-refused` is set
/// ([`ConnectError::Refused`]).
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    end_in_time(run_configured(config, stop.clone()), &stop).await
}

/// Runs an agent with this runtime until `stop`. It leaves the containers as they are.
///
/// # Errors
/// If the runtime can't list its containers, or if the broker refuses the key and the agent is to end then
/// ([`ConnectError::Refused`]).
pub async fn run_with<R: Runtime>(runtime: R, agent: Agent, stop: CancellationToken) -> anyhow::Result<()> {
    end_in_time(run_to_end(runtime, agent, stop.clone()), &stop).await
}

/// Waits for an agent to end, after `stop` for at most [`SHUTDOWN_TIMEOUT`].
async fn end_in_time(agent: impl Future<Output = anyhow::Result<()>>, stop: &CancellationToken) -> anyhow::Result<()> {
    let timeout = async {
        stop.cancelled().await;
        tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
    };
    tokio::select! {
        result = agent => result,
        () = timeout => {
            tracing::warn!("stopped without waiting any longer for the container engine or the broker");
            Ok(())
        }
    }
}

async fn run_configured(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let key = config.api_key.parse()?;
    let backend = key.backend();
    let agent = |reconcile| Agent {
        servers: config.nats_url.clone(),
        keys: KeyStore::open(&config.state_dir, key.clone()),
        exit_on_refused: config.exit_on_refused,
        max_containers: config.max_containers,
        size: machine_size::of(&config),
        address: match &config.lan_ip {
            Some(configured) => AdvertisedAddress::Configured(configured.clone()),
            None => AdvertisedAddress::Detected(config.nats_url.clone()),
        },
        vitals: Vitals::Measured,
        reconcile: ReconcileConfig { resync_interval: config.resync_interval(), ..reconcile },
    };
    tracing::info!(ports = %config.ports, "containers are reached at these ports");
    if config.runtime == Some(RuntimeKind::Simulated) {
        let options = SimulationOptions {
            ports: config.ports,
            delay: config.simulate_delay(),
            image_missing: config.simulate_refuse,
        };
        let seed = backend.uuid().as_u128();
        let runtime = SimulatedRuntime::open(&config.state_dir, &backend.to_string(), seed, options)
            .with_context(|| format!("could not open the simulated containers in {}", config.state_dir.display()))?;
        let agent = agent(ReconcileConfig { max_operations: 1024, ..ReconcileConfig::default() });
        return run_to_end(runtime, agent, stop).await;
    }
    let runtime = tokio::select! {
        opened = open_engine(&config, backend) => opened?,
        // Nothing has begun yet.
        () = stop.cancelled() => return Ok(()),
    };
    run_to_end(runtime, agent(ReconcileConfig::default()), stop).await
}

async fn open_engine(config: &Config, backend: BackendId) -> anyhow::Result<DockerRuntime> {
    let engine = docker::connect(config.docker_host.as_deref().filter(|host| !host.is_empty()))
        .await
        .context("no usable container engine (--runtime simulated needs none)")?;
    let options = docker::DockerOptions {
        backend,
        image: config.image.clone(),
        ports: config.ports,
        lan_ip: config.lan_ip.as_ref().map(ToString::to_string),
        firewall: !config.allow_private_networks,
        keys: keys_dir(&config.state_dir)?,
    };
    DockerRuntime::new(engine, options).await.context("could not prepare the container engine")
}

/// The directory of the keys that may log in. The engine has another working directory.
fn keys_dir(state_dir: &Path) -> anyhow::Result<PathBuf> {
    let state_dir = std::path::absolute(state_dir).context("DOCKHOST_STATE_DIR is no path")?;
    Ok(state_dir.join("keys"))
}

async fn run_to_end<R: Runtime>(runtime: R, agent: Agent, stop: CancellationToken) -> anyhow::Result<()> {
    let Agent { servers, keys, exit_on_refused, max_containers, size, address, vitals, reconcile } = agent;
    let (key, status) = (keys.current(), SharedStatus::default());
    let run = clock::random_run_id();
    let capacity = Arc::new(Capacity::new(max_containers, size));
    let (outbox, changed, refused) = (Outbox::default(), Arc::new(Notify::new()), CancellationToken::new());
    // Listed before the first heartbeat, which contains the number of containers.
    let listed = runtime.list(None).await.context("could not list the containers")?;
    let resources = |container: &Container| container.limits.map(Resources::from).unwrap_or_default();
    capacity.replace_all(listed.iter().map(|container| (container.instance, resources(container))), &HashSet::new());
    tracing::info!(
        version = dockhost_environment::VERSION,
        backend = %key.backend(),
        %run,
        runtime = runtime.kind(),
        containers = capacity.used(),
        "starting"
    );

    let broker = match connect(&servers, &keys, exit_on_refused, &refused, &stop).await {
        Ok(broker) => broker,
        Err(ConnectError::Stopped) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let publisher = ReportPublisher::new(&broker, &key, run);
    let confirmer = ConfirmClient::new(broker.client.clone(), &key, run);
    let reconciler = Reconciler::new(
        runtime,
        Arc::clone(&capacity),
        confirmer,
        outbox.clone(),
        Arc::clone(&changed),
        reconcile,
        stop.clone(),
    );
    let end = async {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = refused.cancelled() => {
                stop.cancel();
                Err(ConnectError::Refused)
            }
        }
    };
    let (hold, reports, kind) = (Hold::default(), ReportsStream::default(), reconciler.kind());
    let ssh = SharedSshWatch::default();
    let session =
        Session { keys: &keys, run, capacity: &capacity, reconciler: &reconciler, hold: &hold, reports: &reports };
    let heartbeats = HeartbeatSource {
        run,
        runtime: kind,
        address,
        vitals,
        capacity: &capacity,
        status: &status,
        ssh: &ssh,
        hold: &hold,
        reports: &reports,
    };
    let ((), (), (), (), (), (), (), (), (), end) = tokio::join!(
        reconciler.keep_machine(&status),
        receive_assignments(broker.clone(), session, &stop),
        run_heartbeats(broker.clone(), &key, &heartbeats, &changed, &stop),
        reconciler.probe_engine(&status),
        reconciler.watch_connections(&ssh),
        reconciler.run(),
        reconciler.watch_engine(),
        outbox.run(&publisher, &stop),
        leave_nodes(&broker.client, broker.addresses, &broker.trouble, &stop),
        end,
    );
    let last_messages = async {
        say_goodbye(&broker.client, &key, &heartbeats).await;
        broker.client.flush().await
    };
    match tokio::time::timeout(FLUSH_TIMEOUT, last_messages).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "could not send the last messages"),
        Err(_) => tracing::debug!("no connection to send the last messages on"),
    }
    Ok(end?)
}

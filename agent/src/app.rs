//! Puts the agent's parts together and runs them until told to stop.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, RuntimeKind};
use crate::confirm::ConfirmSubject;
use crate::connect::{NoConnection, ReportSubject, connect};
use crate::follow::follow;
use crate::heartbeat::{Address, beat};
use crate::key::ApiKey;
use crate::reconcile::{Patience, Reconciler};
use crate::reports::Outbox;
use crate::rooms::Rooms;
use crate::runtime::Runtime;
use crate::runtime::docker::{self, DockerRuntime};
use crate::runtime::simulated::{Behaviour, Simulated};

/// Runs the agent until `stop`. Containers are left as they are.
///
/// # Errors
/// When there is no runtime, or the key is refused and `--exit-on-refused` was given ([`NoConnection::Refused`]).
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let key = config.api_key.parse()?;
    let backend = key.backend();
    if config.runtime == Some(RuntimeKind::Simulated) {
        let behaviour =
            Behaviour { ports: config.ports, delay: config.simulate_delay(), refuse: config.simulate_refuse };
        let seed = backend.uuid().as_u128();
        let runtime = Simulated::open(&config.state_dir, &backend.to_string(), seed, behaviour)
            .with_context(|| format!("could not open the simulated containers in {}", config.state_dir.display()))?;
        let patience = Patience { acts: 1024, tick: config.reconcile_every(), ..Patience::default() };
        return run_with(runtime, patience, &config, &key, stop).await;
    }
    let engine = docker::connect(config.docker_host.as_deref().filter(|host| !host.is_empty())).await.context(
        "no container engine: start Docker or Podman, lead --docker-host (DOCKER_HOST) to its socket, \
         or try --runtime simulated",
    )?;
    let settings = docker::Settings {
        backend,
        image: config.image.clone(),
        ports: config.ports,
        lan_ip: config.lan_ip.clone(),
        firewall: !config.allow_private_networks,
    };
    let runtime = DockerRuntime::new(engine, settings).await.context("the container engine can't be used")?;
    let patience = Patience { tick: config.reconcile_every(), ..Patience::default() };
    run_with(runtime, patience, &config, &key, stop).await
}

async fn run_with<R: Runtime>(
    runtime: R,
    patience: Patience,
    config: &Config,
    key: &ApiKey,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let rooms = Arc::new(Rooms::new(config.max_containers));
    let (outbox, changed, refused) = (Outbox::default(), Arc::new(Notify::new()), CancellationToken::new());
    // Before the first heartbeat says how many containers there are.
    let listed = runtime.list(None).await.context("the runtime can't list its containers")?;
    rooms.hold(listed.iter().map(|container| container.instance));
    tracing::info!(backend = %key.backend(), runtime = runtime.kind(), containers = rooms.held(), "starting");

    let broker = match connect(&config.nats_url, key, config.exit_on_refused, &refused, &stop).await {
        Ok(broker) => broker,
        Err(NoConnection::Stopped) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let post = ReportSubject::new(broker.client.clone(), key);
    let confirmer = ConfirmSubject::new(broker.client.clone(), key);
    let reconciler = Reconciler::new(
        runtime,
        Arc::clone(&rooms),
        confirmer,
        outbox.clone(),
        Arc::clone(&changed),
        patience,
        stop.clone(),
    );
    let address = match &config.lan_ip.as_ref().filter(|given| !given.is_empty()) {
        Some(given) => Address::Given((*given).clone()),
        None => Address::Found(config.nats_url.clone()),
    };
    let end = async {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = refused.cancelled() => {
                stop.cancel();
                Err(NoConnection::Refused)
            }
        }
    };
    let ((), (), (), (), (), end) = tokio::join!(
        reconciler.prepare(),
        follow(broker.clone(), key, &rooms, &reconciler, &stop),
        beat(broker.clone(), key, reconciler.kind(), &address, &rooms, &changed, &stop),
        reconciler.run(),
        outbox.run(&post, &stop),
        end,
    );
    // Whatever was published last leaves before the connection does.
    if let Err(error) = broker.client.flush().await {
        tracing::debug!(%error, "the last messages may not have left");
    }
    Ok(end?)
}

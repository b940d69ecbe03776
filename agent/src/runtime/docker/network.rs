//! The engine's network for all instances: a separate bridge on which containers reach the internet but not each other.
//!
//! Users of the machine remove it with `docker network prune`, which takes each network that no running container uses.
//! So it is created again whenever a container needs it, and a container that was connected to the removed one is
//! connected to the new one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest, NetworkInspect};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::engine::Engine;
use super::errors::{container_error, is_network_missing, other_error};
use crate::runtime::RuntimeError;

/// Name of the network.
pub(super) const NETWORK_NAME: &str = "dockhost";
/// The option that contains the bridge's name on the host.
const BRIDGE_OPTION: &str = "com.docker.network.bridge.name";

/// The network, as far as the firewall needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    /// The bridge's name on the host. Podman creates the bridge when the first container starts.
    pub bridge: String,
    /// The host's addresses on the bridge.
    pub gateways: Vec<IpAddr>,
    /// Whether containers get IPv6 addresses.
    pub has_ipv6: bool,
}

/// Creates the network if it is missing.
pub(super) async fn ensure(engine: &Engine) -> Result<Network, RuntimeError> {
    if let Some(network) = find(engine).await? {
        return Ok(network);
    }
    // Podman ignores the first one; the isolation rules separate its instances.
    let options = [("com.docker.network.bridge.enable_icc", "false"), (BRIDGE_OPTION, "dockhost0")];
    let request = NetworkCreateRequest {
        name: NETWORK_NAME.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(
            options.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<HashMap<_, _>>(),
        ),
        ..NetworkCreateRequest::default()
    };
    let made = engine.docker.create_network(request).await;
    match (find(engine).await?, made) {
        // Another agent on this engine may have created it at the same time.
        (Some(network), made) => {
            if made.is_ok() {
                tracing::info!(network = NETWORK_NAME, bridge = network.bridge, "created the instances' network");
            }
            Ok(network)
        }
        (None, Err(error)) => Err(other_error("could not create the instances' network")(error)),
        (None, Ok(_)) => Err(RuntimeError::NetworkMissing(NETWORK_NAME.to_owned())),
    }
}

/// Connects a stopped container to the network in place of a removed one of the same name.
pub(super) async fn reconnect(docker: &Docker, container: &str) -> Result<(), RuntimeError> {
    let disconnect = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
    match docker.disconnect_network(NETWORK_NAME, disconnect).await {
        Ok(()) => {}
        // An interrupted attempt has disconnected it already.
        Err(error) => tracing::debug!(%error, "could not disconnect the container from the removed network"),
    }
    let connect = NetworkConnectRequest { container: container.to_owned(), endpoint_config: None };
    docker
        .connect_network(NETWORK_NAME, connect)
        .await
        .map_err(container_error("could not connect the container to the instances' network"))
}

async fn find(engine: &Engine) -> Result<Option<Network>, RuntimeError> {
    let found = match engine.docker.inspect_network(NETWORK_NAME, None).await {
        Ok(found) => found,
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
        Err(Error::DockerResponseServerError { message, .. }) if is_network_missing(&message) => return Ok(None),
        Err(error) => return Err(other_error("could not inspect the instances' network")(error)),
    };
    let bridge = match podman_interface(engine).await {
        Some(interface) => interface,
        None => bridge_name(&found),
    };
    let addresses = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let gateways = addresses.iter().filter_map(|config| config.gateway.as_ref()?.parse().ok()).collect();
    Ok(Some(Network { bridge, gateways, has_ipv6: found.enable_ipv6.unwrap_or(false) }))
}

fn bridge_name(network: &NetworkInspect) -> String {
    let named = network.options.as_ref().and_then(|options| options.get(BRIDGE_OPTION));
    let by_id = || format!("br-{}", network.id.as_deref().unwrap_or_default().chars().take(12).collect::<String>());
    named.cloned().unwrap_or_else(by_id)
}

/// The bridge's name by Podman's own API. Its Docker-compatible API does not tell it.
async fn podman_interface(engine: &Engine) -> Option<String> {
    #[derive(Deserialize)]
    struct Inspected {
        network_interface: String,
    }
    if !engine.is_podman() {
        return None;
    }
    match get(&engine.socket, &format!("/v4.0.0/libpod/networks/{NETWORK_NAME}/json")).await {
        Ok(body) => serde_json::from_slice::<Inspected>(&body).ok().map(|inspected| inspected.network_interface),
        Err(error) => {
            tracing::debug!(%error, "Podman does not tell the bridge's name");
            None
        }
    }
}

/// The body of a short response. HTTP/1.0 has no chunks, and the server closes the connection at the end.
async fn get(socket: &Path, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: podman\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    let end_of_head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    Ok(end_of_head.map(|at| answer.split_off(at + 4)).unwrap_or_default())
}

/// The largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 256 * 1024;

//! The engine's network for all instances: a separate bridge on which containers reach the internet but not each other.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::NetworkCreateRequest;

use super::errors::other_error;
use crate::runtime::RuntimeError;

/// Name of the network.
pub(super) const NETWORK_NAME: &str = "dockhost";
/// The option that contains the bridge's name on the host.
const BRIDGE_OPTION: &str = "com.docker.network.bridge.name";

/// Creates the network if it is missing; returns the bridge's name on the host.
pub(super) async fn ensure(docker: &Docker) -> Result<String, RuntimeError> {
    if let Some(bridge) = find(docker).await? {
        return Ok(bridge);
    }
    let options = [("com.docker.network.bridge.enable_icc", "false"), (BRIDGE_OPTION, "dockhost0")];
    let request = NetworkCreateRequest {
        name: NETWORK_NAME.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(HashMap::from(options.map(|(name, value)| (name.to_owned(), value.to_owned())))),
        ..NetworkCreateRequest::default()
    };
    let made = docker.create_network(request).await;
    match (find(docker).await?, made) {
        // Another agent on this engine may have created it at the same time.
        (Some(bridge), _) => Ok(bridge),
        (None, Err(error)) => Err(other_error("could not create the instances' network")(error)),
        (None, Ok(_)) => Err(RuntimeError::NotFound),
    }
}

async fn find(docker: &Docker) -> Result<Option<String>, RuntimeError> {
    match docker.inspect_network(NETWORK_NAME, None).await {
        Ok(network) => {
            let named = network.options.and_then(|mut options| options.remove(BRIDGE_OPTION));
            let by_id = || format!("br-{}", network.id.unwrap_or_default().chars().take(12).collect::<String>());
            Ok(Some(named.unwrap_or_else(by_id)))
        }
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(other_error("could not inspect the instances' network")(error)),
    }
}

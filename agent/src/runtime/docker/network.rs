//! The network of all instances on an engine.
//!
//! In: an engine. Out: a bridge of its own, on which containers reach the outside but not each other, and which is
//! apart from the networks of whatever else runs on the engine. What lies behind the machine's own addresses is
//! [`super::firewall`]'s matter.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::NetworkCreateRequest;

use super::errors::other_error;
use crate::runtime::RuntimeError;

/// Its name.
pub(super) const NETWORK_NAME: &str = "dockhost";
/// The option that says how its bridge is called on the host.
const BRIDGE_OPTION: &str = "com.docker.network.bridge.name";

/// Makes it, if it isn't there; how its bridge is called on the host.
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
        // Whoever made it: another agent on this engine may have been faster.
        (Some(bridge), _) => Ok(bridge),
        (None, Err(error)) => Err(other_error("could not make the network of the instances")(error)),
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
        Err(error) => Err(other_error("could not look for the network of the instances")(error)),
    }
}

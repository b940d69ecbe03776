//! The network of all instances on an engine.
//!
//! In: an engine. Out: a bridge of its own, on which containers reach the outside but not each other, and which is
//! apart from the networks of whatever else runs on the engine.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::NetworkCreateRequest;

use super::errors::other;
use crate::runtime::RuntimeError;

/// Its name.
pub(super) const NAME: &str = "dockhost";

/// Makes it, if it isn't there.
pub(super) async fn ensure(docker: &Docker) -> Result<(), RuntimeError> {
    match docker.inspect_network(NAME, None).await {
        Ok(_) => return Ok(()),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
        Err(error) => return Err(other("could not look for the network of the instances")(error)),
    }
    let options = HashMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())]);
    let request = NetworkCreateRequest {
        name: NAME.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(options),
        ..NetworkCreateRequest::default()
    };
    match docker.create_network(request).await {
        // Another agent on this engine was faster.
        Ok(_) | Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
        Err(error) => Err(other("could not make the network of the instances")(error)),
    }
}

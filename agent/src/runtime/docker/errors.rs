//! Maps bollard's errors to [`RuntimeError`].
//!
//! Engines report a port in use only in the message, so this module contains the messages of Docker, its userland proxy
//! and Podman.

use bollard::errors::Error;

use crate::runtime::RuntimeError;

/// Maps an error that has no special meaning.
pub(super) fn other_error(action: &'static str) -> impl Fn(Error) -> RuntimeError {
    move |error| RuntimeError::Other { action, source: error.into() }
}

/// Maps an error of an operation on an existing container.
pub(super) fn container_error(action: &'static str) -> impl Fn(Error) -> RuntimeError {
    move |error| match &error {
        Error::DockerResponseServerError { message, .. } if is_network_missing(message) => {
            RuntimeError::NetworkMissing(message.clone())
        }
        // Other things that do not exist have the same status.
        Error::DockerResponseServerError { status_code: 404, message } if is_container_missing(message) => {
            RuntimeError::NotFound
        }
        Error::DockerResponseServerError { message, .. } if is_port_taken(message) => {
            RuntimeError::PortTaken(message.clone())
        }
        _ => RuntimeError::Other { action, source: error.into() },
    }
}

/// Maps an error of a transfer of files: the container or the path does not exist.
pub(super) fn file_error(action: &'static str) -> impl Fn(Error) -> RuntimeError {
    move |error| match &error {
        Error::DockerResponseServerError { status_code: 404, .. } => RuntimeError::NotFound,
        _ => RuntimeError::Other { action, source: error.into() },
    }
}

/// Maps an error of a creation from `image`.
pub(super) fn create_error(image: &str) -> impl Fn(Error) -> RuntimeError {
    move |error| match &error {
        Error::DockerResponseServerError { message, .. } if is_network_missing(message) => {
            RuntimeError::NetworkMissing(message.clone())
        }
        Error::DockerResponseServerError { status_code: 404, .. } => RuntimeError::ImageMissing(image.to_owned()),
        // The status is 409 with Docker and 500 with Podman.
        Error::DockerResponseServerError { message, .. } if is_name_taken(message) => RuntimeError::AlreadyExists,
        _ => RuntimeError::Other { action: "could not create the container", source: error.into() },
    }
}

/// Docker: `network dockhost not found`, also within a longer message. Podman: `network not found`.
pub(super) fn is_network_missing(message: &str) -> bool {
    let missing = message.starts_with("network ") || message.contains(" network ");
    missing && message.contains("not found") && !is_container_missing(message) && !message.contains("No such image")
}

fn is_container_missing(message: &str) -> bool {
    let message = message.to_lowercase();
    message.contains("no such container") || message.contains("no container with")
}

fn is_port_taken(message: &str) -> bool {
    // The last one: `LAN_IP` is no longer an address of this machine, so the ports must be published elsewhere.
    ["port is already allocated", "address already in use", "cannot assign requested address"]
        .iter()
        .any(|text| message.contains(text))
}

fn is_name_taken(message: &str) -> bool {
    message.contains("is already in use by") || message.contains("that name is already in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    #[test]
    fn errors_of_docker_and_podman_are_recognized() {
        let start = container_error("could not start the container");
        for text in [
            "driver failed programming external connectivity on endpoint x (y): Bind for 0.0.0.0:20000 failed: port is already allocated",
            "driver failed programming external connectivity on endpoint x (y): Error starting userland proxy: listen tcp4 0.0.0.0:20000: bind: address already in use",
            "rootlessport listen tcp 0.0.0.0:20000: bind: address already in use",
            "driver failed programming external connectivity on endpoint x (y): Error starting userland proxy: listen tcp4 192.168.1.9:20000: bind: cannot assign requested address",
        ] {
            assert!(matches!(start(answer(500, text)), RuntimeError::PortTaken(_)), "{text}");
        }
        for text in [
            "No such container: x",
            "no container with name or ID \"x\" found: no such container",
            "No such container: network x not found",
        ] {
            assert!(matches!(start(answer(404, text)), RuntimeError::NotFound), "{text}");
        }
        for (status, text) in [
            (404, "network 9f974e3515b3b974ce6ac16ce64ea92eb263c2b58ad7db4223918ff3f2af16f4 not found"),
            (404, "network dockhost not found"),
            (500, "failed to set up container networking: network dockhost not found"),
            (500, "unable to find network with name or ID dockhost: network not found"),
        ] {
            assert!(matches!(start(answer(status, text)), RuntimeError::NetworkMissing(_)), "{text}");
            assert!(matches!(create_error("img")(answer(status, text)), RuntimeError::NetworkMissing(_)), "{text}");
        }
        assert!(matches!(start(answer(404, "no such device: /dev/fuse")), RuntimeError::Other { .. }));
        let path = answer(404, "Could not find the file /etc/dockhost/host_keys.pub in container x");
        assert!(matches!(file_error("could not read")(path), RuntimeError::NotFound));
        assert!(matches!(start(answer(500, "no space left on device")), RuntimeError::Other { .. }));

        let create = create_error("img");
        assert!(
            matches!(create(answer(404, "No such image: img")), RuntimeError::ImageMissing(image) if image == "img")
        );
        for text in [
            r#"Conflict. The container name "/x" is already in use by container "y". You have to remove (or rename) that container"#,
            "creating container storage: the container name \"x\" is already in use by y. You have to remove that container: that name is already in use",
        ] {
            assert!(matches!(create(answer(409, text)), RuntimeError::AlreadyExists), "{text}");
        }
    }
}

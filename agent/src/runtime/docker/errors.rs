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
        Error::DockerResponseServerError { status_code: 404, .. } => RuntimeError::NotFound,
        Error::DockerResponseServerError { message, .. } if is_port_taken(message) => {
            RuntimeError::PortTaken(message.clone())
        }
        _ => RuntimeError::Other { action, source: error.into() },
    }
}

/// Maps an error of a creation from `image`.
pub(super) fn create_error(image: &str) -> impl Fn(Error) -> RuntimeError {
    move |error| match &error {
        Error::DockerResponseServerError { status_code: 404, .. } => RuntimeError::ImageMissing(image.to_owned()),
        // The status is 409 with Docker and 500 with Podman.
        Error::DockerResponseServerError { message, .. } if is_name_taken(message) => RuntimeError::AlreadyExists,
        _ => RuntimeError::Other { action: "could not create the container", source: error.into() },
    }
}

fn is_port_taken(message: &str) -> bool {
    ["port is already allocated", "address already in use"].iter().any(|text| message.contains(text))
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
        ] {
            assert!(matches!(start(answer(500, text)), RuntimeError::PortTaken(_)), "{text}");
        }
        assert!(matches!(start(answer(404, "No such container: x")), RuntimeError::NotFound));
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

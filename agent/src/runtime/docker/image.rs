//! Provides images: downloads them, and builds the project's own instance image.
//!
//! Images with the project's prefix are never downloaded: the owner of that name on a public registry would get root in
//! every instance.

use bollard::Docker;
use bollard::query_parameters::{BuildImageOptionsBuilder, CreateImageOptionsBuilder};
use bytes::Bytes;
use futures::TryStreamExt;
use tar::{Builder, Header};

use super::errors::other_error;
use crate::runtime::RuntimeError;

/// Prefix of the project's own images.
const PROJECT_PREFIX: &str = "dockhost/";
/// The image of `images/instance`.
pub(super) const INSTANCE_IMAGE: &str = "dockhost/instance:latest";

/// The files that the instance image is built from.
const BUILD_CONTEXT: [(&str, &str); 3] = [
    ("Dockerfile", include_str!("../../../../images/instance/Dockerfile")),
    ("entrypoint.sh", include_str!("../../../../images/instance/entrypoint.sh")),
    ("sshd_config", include_str!("../../../../images/instance/sshd_config")),
];

/// Downloads or builds the image if it is missing. May take minutes.
pub(super) async fn ensure(docker: &Docker, image: &str) -> Result<(), RuntimeError> {
    if exists(docker, image).await {
        Ok(())
    } else if image == INSTANCE_IMAGE {
        tracing::info!(image, "building the instance image; this happens once and takes a minute or two");
        build(docker).await
    } else if image.starts_with(PROJECT_PREFIX) {
        Err(RuntimeError::ImageMissing(image.to_owned()))
    } else {
        let options = CreateImageOptionsBuilder::default().from_image(image).build();
        let progress = docker.create_image(Some(options), None, None);
        progress.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(other_error("could not download the image"))
    }
}

async fn exists(docker: &Docker, image: &str) -> bool {
    docker.inspect_image(image).await.is_ok()
}

async fn build(docker: &Docker) -> Result<(), RuntimeError> {
    let context = context().map_err(|error| RuntimeError::Other {
        action: "could not create the build context of the instance image",
        source: error.into(),
    })?;
    let options = BuildImageOptionsBuilder::default().t(INSTANCE_IMAGE).rm(true).forcerm(true).build();
    docker
        .build_image(options, None, Some(bollard::body_full(context)))
        .try_for_each(|line| {
            if let Some(text) = line.stream {
                tracing::debug!(text = text.trim_end(), "build output");
            }
            std::future::ready(Ok(()))
        })
        .await
        .map_err(other_error("could not build the instance image"))?;
    tracing::info!(image = INSTANCE_IMAGE, "built the instance image");
    Ok(())
}

/// The files as a tar archive.
fn context() -> std::io::Result<Bytes> {
    let mut archive = Builder::new(Vec::new());
    for (name, text) in BUILD_CONTEXT {
        let mut header = Header::new_gnu();
        header.set_mode(if name.ends_with(".sh") { 0o755 } else { 0o644 });
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    Ok(archive.into_inner()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_context_contains_every_file_that_the_dockerfile_copies() {
        let dockerfile = BUILD_CONTEXT[0].1;
        let copied: Vec<&str> = dockerfile
            .lines()
            .filter_map(|line| line.strip_prefix("COPY "))
            .filter_map(|line| line.split_whitespace().find(|word| !word.starts_with("--")))
            .collect();
        assert_eq!(copied.len(), BUILD_CONTEXT.len() - 1);
        for name in copied {
            assert!(BUILD_CONTEXT.iter().any(|(file, _)| *file == name), "{name} is not in the context");
        }
        assert!(context().is_ok());
    }
}

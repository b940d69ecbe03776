//! Provides images: downloads them, and builds the project's own instance image.
//!
//! Images with the project's prefix are never downloaded: the owner of that name on a public registry would get root in
//! every instance.

use std::borrow::Cow;
use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::{BuildImageOptionsBuilder, CreateImageOptionsBuilder};
use bytes::Bytes;
use futures::TryStreamExt;
use tar::{Builder, Header};

use super::errors::other_error;
use super::keys_dir;
use crate::runtime::{FetchProgress, RuntimeError};

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

/// Receives how much of an image is there.
pub(super) type Progress<'a> = &'a (dyn Fn(FetchProgress) + Send + Sync);

/// The name with `:latest` if it has neither a tag nor a digest. Without one, an engine downloads every tag.
pub(super) fn with_tag(image: &str) -> Cow<'_, str> {
    // A colon before the last slash belongs to the registry's port.
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.into() } else { format!("{image}:latest").into() }
}

/// Downloads or builds the image if it is missing. May take minutes.
pub(super) async fn ensure(docker: &Docker, image: &str, progress: Progress<'_>) -> Result<(), RuntimeError> {
    let image = &*with_tag(image);
    if exists(docker, image).await? {
        Ok(())
    } else if image == INSTANCE_IMAGE {
        progress(FetchProgress::default());
        tracing::info!(image, "building the instance image; this happens once and takes a minute or two");
        build(docker, progress).await
    } else if image.starts_with(PROJECT_PREFIX) {
        Err(RuntimeError::ImageMissing(image.to_owned()))
    } else {
        progress(FetchProgress::default());
        tracing::info!(image, "downloading the image");
        download(docker, image, progress).await?;
        tracing::info!(image, "downloaded the image");
        Ok(())
    }
}

/// Whether containers of the image read the keys that may log in from a mounted directory.
pub(super) async fn reads_keys_dir(docker: &Docker, image: &str) -> bool {
    // A missing image is reported by the creation.
    let labels = docker.inspect_image(image).await.ok().and_then(|image| image.config?.labels);
    labels.is_some_and(|labels| labels.get(keys_dir::IMAGE_LABEL).is_some_and(|from| from == keys_dir::MOUNT_POINT))
}

async fn exists(docker: &Docker, image: &str) -> Result<bool, RuntimeError> {
    match docker.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
        Err(error) => Err(other_error("could not look for the image")(error)),
    }
}

async fn download(docker: &Docker, image: &str, progress: Progress<'_>) -> Result<(), RuntimeError> {
    let options = CreateImageOptionsBuilder::default().from_image(image).build();
    let mut layers = Layers::default();
    docker
        .create_image(Some(options), None, None)
        .try_for_each(|line| {
            if layers.update(line) {
                progress(layers.progress());
            }
            std::future::ready(Ok(()))
        })
        .await
        .map_err(other_error("could not download the image"))
}

/// The downloaded and total bytes of each layer that is being downloaded, by its id.
#[derive(Default)]
struct Layers(HashMap<String, (u64, u64)>);

impl Layers {
    /// Takes in a line of the engine's output; whether it says how much is done.
    fn update(&mut self, line: CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (line.id, line.status) else { return false };
        match (status.as_str(), line.progress_detail) {
            ("Downloading", Some(detail)) => {
                let bytes = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
                self.0.insert(id, (bytes(detail.current), bytes(detail.total)));
            }
            ("Download complete" | "Pull complete", _) => {
                if let Some((current, total)) = self.0.get_mut(&id) {
                    *current = *total;
                }
            }
            _ => return false,
        }
        true
    }

    fn progress(&self) -> FetchProgress {
        let (bytes, total) = self.0.values().fold((0, 0), |sum: (u64, u64), (current, total)| {
            (sum.0.saturating_add(*current), sum.1.saturating_add(*total))
        });
        FetchProgress { percent: percent(bytes, total), bytes }
    }
}

/// `None` without a total.
fn percent(done: u64, total: u64) -> Option<u8> {
    let percent = done.saturating_mul(100).checked_div(total)?;
    Some(u8::try_from(percent.min(100)).unwrap_or(100))
}

async fn build(docker: &Docker, progress: Progress<'_>) -> Result<(), RuntimeError> {
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
                if let Some(percent) = step_percent(&text) {
                    progress(FetchProgress { percent: Some(percent), bytes: 0 });
                }
            }
            std::future::ready(Ok(()))
        })
        .await
        .map_err(other_error("could not build the instance image"))?;
    tracing::info!(image = INSTANCE_IMAGE, "built the instance image");
    Ok(())
}

/// The share of the steps before the one that this line of the build's output begins: `Step 3/9 : RUN …`, or in capitals
/// with Podman.
fn step_percent(line: &str) -> Option<u8> {
    let numbers = line.strip_prefix("Step ").or_else(|| line.strip_prefix("STEP "))?;
    let (step, rest) = numbers.split_once('/')?;
    let steps: u64 = rest.split([' ', ':']).next()?.parse().ok()?;
    percent(step.parse::<u64>().ok()?.checked_sub(1)?, steps)
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
    use bollard::models::ProgressDetail;

    #[test]
    fn with_tag_adds_latest_only_to_a_name_without_tag_and_digest() {
        for (given, expected) in [
            ("debian", "debian:latest"),
            ("team/box", "team/box:latest"),
            ("127.0.0.1:5000/team/box", "127.0.0.1:5000/team/box:latest"),
            ("127.0.0.1:5000/team/box:v1", "127.0.0.1:5000/team/box:v1"),
            ("debian@sha256:00", "debian@sha256:00"),
            ("registry:5000/box:v1@sha256:00", "registry:5000/box:v1@sha256:00"),
        ] {
            assert_eq!(with_tag(given), expected);
        }
    }

    #[test]
    fn layers_progress_is_the_sum_of_all_layers() {
        let line = |id: &str, status: &str, progress: Option<(i64, i64)>| CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: progress
                .map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        };
        let mut layers = Layers::default();
        assert!(!layers.update(line("v1", "Pulling from team/box", None)));
        assert_eq!(layers.progress(), FetchProgress::default());
        assert!(layers.update(line("a", "Downloading", Some((10, 100)))));
        assert!(layers.update(line("b", "Downloading", Some((0, 300)))));
        assert_eq!(layers.progress(), FetchProgress { percent: Some(2), bytes: 10 });
        assert!(layers.update(line("a", "Download complete", None)));
        assert!(layers.update(line("b", "Downloading", Some((200, 300)))));
        assert_eq!(layers.progress(), FetchProgress { percent: Some(75), bytes: 300 });
    }

    #[test]
    fn step_percent_counts_the_finished_steps() {
        assert_eq!(step_percent("Step 1/9 : FROM debian:12-slim"), Some(0));
        assert_eq!(step_percent("STEP 4/6: RUN apt-get update"), Some(50));
        for other in ["Step x/9", "Step 3 of 9", "Get:1 http://deb Step 1/2", "Step 1/0 :", "Step 0/9 :"] {
            assert_eq!(step_percent(other), None, "{other}");
        }
    }

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

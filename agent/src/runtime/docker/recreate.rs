//! Recreates a container with other ports, keeping its files.
//!
//! An engine fixes the ports when it creates a container. So the agent commits the files of the stopped container to an
//! image, renames the container, creates a new one from the image and removes the old one last. After a crash at any
//! point, the next list contains the files: in the old container under its other name, or in the new one, whose label
//! names the old id and thereby hides the old container.

use std::collections::HashSet;

use bollard::Docker;
use bollard::models::ContainerConfig;
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, ListImagesOptions, RemoveContainerOptionsBuilder, RemoveImageOptions,
    RenameContainerOptionsBuilder,
};
use dockhost_domain::ids::InstanceId;
use dockhost_domain::wire::Assignment;

use super::errors::{container_error, other_error};
use super::{DockerRuntime, keys_dir, labels};
use crate::container::Container;
use crate::runtime::RuntimeError;

/// Repository of the images committed from containers.
const REPOSITORY: &str = "dockhost/files";

impl DockerRuntime {
    pub(super) async fn recreate(&self, container: &Container, assignment: &Assignment) -> Result<(), RuntimeError> {
        let Some(spec) = &assignment.container else { return Ok(()) };
        let tag = format!("{}-{}", container.instance, container.placement);
        let options =
            CommitContainerOptionsBuilder::default().container(&container.id).repo(REPOSITORY).tag(&tag).build();
        self.docker
            .commit_container(options, ContainerConfig::default())
            .await
            .map_err(container_error("could not commit the container's files"))?;
        free_name(&self.docker, container).await?;
        let mut former_ids = container.former_ids.clone();
        former_ids.push(container.id.to_string());
        // Its files may have keys that were uploaded, so it goes on to read them from where it did.
        let keys_dir = self.keys_dir_of(&container.id).await?;
        if let Some(dir) = &keys_dir {
            keys_dir::write(dir, spec.keys()).await?;
        }
        let image = format!("{REPOSITORY}:{tag}");
        self.create_container_from(assignment, spec, &image, keys_dir.as_deref(), &former_ids).await?;
        remove(&self.docker, &container.id).await
    }

    /// Removes a container, the containers that it replaced, and the image of its files.
    pub(super) async fn remove_with_predecessors(&self, id: &str) -> Result<(), RuntimeError> {
        let config = self
            .docker
            .inspect_container(id, None)
            .await
            .map_err(container_error("could not inspect the container"))?
            .config;
        remove(&self.docker, id).await?;
        let Some(config) = config else { return Ok(()) };
        if let Some(dir) = labels::keys_dir(config.labels.as_ref()) {
            keys_dir::remove(&dir).await;
        }
        let former = config.labels.as_ref().and_then(|labels| labels.get(labels::FORMER));
        for id in former.iter().flat_map(|ids| ids.split(',')) {
            match remove(&self.docker, id).await {
                Ok(()) | Err(RuntimeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(image) = config.image.filter(|image| instance_of_image(image).is_some())
            && let Err(error) = self.docker.remove_image(&image, None::<RemoveImageOptions>, None).await
        {
            tracing::warn!(image, %error, "could not remove the image of a removed container's files; trying again later");
        }
        Ok(())
    }

    /// Removes the directories of keys that no container on this engine has.
    pub(super) async fn remove_unused_keys(&self) -> Result<(), RuntimeError> {
        let old_ones = self.keys_dirs.old_ones().await.map_err(|source| RuntimeError::Other {
            action: "could not list the directories of keys",
            source: source.into(),
        })?;
        if old_ones.is_empty() {
            return Ok(());
        }
        let containers = self.list_by_label(vec![labels::INSTANCE.to_owned()]).await?;
        let used = containers.iter().filter_map(|container| labels::keys_dir(container.labels.as_ref())).collect();
        keys_dir::remove_unused(old_ones, &used).await;
        Ok(())
    }

    /// Removes the images of files whose instance has no container on this engine.
    pub(super) async fn remove_images_without_instance(&self) -> Result<(), RuntimeError> {
        // Before the containers: an image is committed while its container exists.
        let images = self
            .docker
            .list_images(None::<ListImagesOptions>)
            .await
            .map_err(other_error("could not list the images"))?;
        // Those of all backends: agents may share an engine.
        let containers = self.list_by_label(vec![labels::INSTANCE.to_owned()]).await?;
        let instances: HashSet<&String> =
            containers.iter().filter_map(|container| container.labels.as_ref()?.get(labels::INSTANCE)).collect();
        for name in images.iter().flat_map(|image| &image.repo_tags) {
            let Some(instance) = instance_of_image(name) else { continue };
            if instances.contains(&instance.to_string()) {
                continue;
            }
            match self.docker.remove_image(name, None::<RemoveImageOptions>, None).await {
                Ok(_) => tracing::info!(image = name, "removed an image of files that no instance has"),
                Err(error) => tracing::warn!(
                    image = name,
                    %error,
                    "could not remove an image of files that no instance has"
                ),
            }
        }
        Ok(())
    }
}

/// The instance of an image of files; `None` for any other image. Podman puts a registry before the name.
fn instance_of_image(name: &str) -> Option<InstanceId> {
    let (repository, tag) = name.rsplit_once(':')?;
    let local = ["docker.io/", "localhost/"].iter().find_map(|registry| repository.strip_prefix(registry));
    if local.unwrap_or(repository) != REPOSITORY {
        return None;
    }
    // `<instance>-<placement>`
    tag.rsplit_once('-')?.0.parse().ok()
}

/// Renames the container, so that the one that replaces it can have its name.
async fn free_name(docker: &Docker, container: &Container) -> Result<(), RuntimeError> {
    let name = docker
        .inspect_container(&container.id, None)
        .await
        .map_err(container_error("could not inspect the container"))?
        .name;
    let other_name = format!("dockhost-former-{}", container.id);
    if name.is_some_and(|name| name.trim_start_matches('/') == other_name) {
        return Ok(());
    }
    let options = RenameContainerOptionsBuilder::default().name(&other_name).build();
    docker.rename_container(&container.id, options).await.map_err(container_error("could not rename the container"))
}

pub(super) async fn remove(docker: &Docker, id: &str) -> Result<(), RuntimeError> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    docker.remove_container(id, Some(options)).await.map_err(container_error("could not remove the container"))
}

/// Removes from the list those that another container has replaced; a crash before the last step leaves them behind.
pub(super) fn drop_replaced(containers: &mut Vec<Container>) {
    let replaced: Vec<String> = containers.iter().flat_map(|container| container.former_ids.clone()).collect();
    containers.retain(|container| !replaced.iter().any(|id| **id == *container.id));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_of_image_is_known_with_docker_and_podman() {
        let id = "01a2137e-11c5-76d9-8587-a145a1d28b76";
        for registry in ["", "docker.io/", "localhost/"] {
            let name = format!("{registry}dockhost/files:{id}-2");
            assert_eq!(instance_of_image(&name), Some(id.parse().unwrap()), "{name}");
        }
        for other in
            ["dockhost/files:latest", "example.org/dockhost/files:x-1", "dockhost/test:latest", "<none>:<none>"]
        {
            assert_eq!(instance_of_image(other), None, "{other}");
        }
    }
}

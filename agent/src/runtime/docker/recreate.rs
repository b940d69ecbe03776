//! Recreates a container with other ports, keeping its files.
//!
//! An engine fixes the ports when it creates a container. So the agent commits the files of the stopped container to an
//! image, renames the container, creates a new one from the image and removes the old one last. After a crash at any
//! point, the next list contains the files: in the old container under its other name, or in the new one, whose label
//! names the old id and thereby hides the old container.

use bollard::Docker;
use bollard::models::ContainerConfig;
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptions, RenameContainerOptionsBuilder,
};
use dockhost_domain::wire::Assignment;

use super::errors::container_error;
use super::{DockerRuntime, labels};
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
        former_ids.push(container.id.clone());
        self.create_container_from(assignment, spec, &format!("{REPOSITORY}:{tag}"), &former_ids).await?;
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
        let former = config.labels.as_ref().and_then(|labels| labels.get(labels::FORMER));
        for id in former.iter().flat_map(|ids| ids.split(',')) {
            match remove(&self.docker, id).await {
                Ok(()) | Err(RuntimeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(image) = config.image.filter(|image| image.starts_with(REPOSITORY))
            && let Err(error) = self.docker.remove_image(&image, None::<RemoveImageOptions>, None).await
        {
            tracing::warn!(image, %error, "could not remove the image of a removed container's files");
        }
        Ok(())
    }
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

async fn remove(docker: &Docker, id: &str) -> Result<(), RuntimeError> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    docker.remove_container(id, Some(options)).await.map_err(container_error("could not remove the container"))
}

/// Removes from the list those that another container has replaced; a crash before the last step leaves them behind.
pub(super) fn drop_replaced(containers: &mut Vec<Container>) {
    let replaced: Vec<String> = containers.iter().flat_map(|container| container.former_ids.clone()).collect();
    containers.retain(|container| !replaced.contains(&container.id));
}

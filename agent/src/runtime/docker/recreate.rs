//! Other ports for a container that has files.
//!
//! In: a stopped container whose ports somebody else took meanwhile. Out: a container with the same files and other
//! ports. An engine fixes the ports at create_error, so the files are committed to an image and a container is made from
//! it; the old one is removed last. At each point where this may break off, the files are in a container that the next
//! look finds: the old one, under another name, or the new one, which knows the old one's id and so replaces it.

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

/// The repository of the images that are made from containers.
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
            .map_err(container_error("could not keep the container's files"))?;
        free_name(&self.docker, container).await?;
        let mut former_ids = container.former_ids.clone();
        former_ids.push(container.id.clone());
        self.create_container_from(assignment, spec, &format!("{REPOSITORY}:{tag}"), &former_ids).await?;
        remove(&self.docker, &container.id).await
    }

    /// Removes a container, those that it replaced, and the image that was made of its files.
    pub(super) async fn remove_with_predecessors(&self, id: &str) -> Result<(), RuntimeError> {
        let config =
            self.docker.inspect_container(id, None).await.map_err(container_error("could not inspect it"))?.config;
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
            tracing::warn!(image, %error, "an image of removed files is left");
        }
        Ok(())
    }
}

/// Frees the container's name for the one that replaces it.
async fn free_name(docker: &Docker, container: &Container) -> Result<(), RuntimeError> {
    let name =
        docker.inspect_container(&container.id, None).await.map_err(container_error("could not inspect it"))?.name;
    let aside = format!("dockhost-former-{}", container.id);
    if name.is_some_and(|name| name.trim_start_matches('/') == aside) {
        return Ok(());
    }
    let options = RenameContainerOptionsBuilder::default().name(&aside).build();
    docker.rename_container(&container.id, options).await.map_err(container_error("could not rename the container"))
}

async fn remove(docker: &Docker, id: &str) -> Result<(), RuntimeError> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    docker.remove_container(id, Some(options)).await.map_err(container_error("could not remove the container"))
}

/// Drops the containers that another one of the list has replaced: a crash left them between the last two steps.
pub(super) fn drop_replaced(containers: &mut Vec<Container>) {
    let replaced: Vec<String> = containers.iter().flat_map(|container| container.former_ids.clone()).collect();
    containers.retain(|container| !replaced.contains(&container.id));
}

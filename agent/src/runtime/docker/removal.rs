//! All containers of a backend at once, for whoever gives its data up. No agent may be running.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use dockhost_domain::ids::BackendId;

use super::engine::Engine;
use super::errors::other_error;
use super::{keys_dir, labels, recreate};
use crate::runtime::RuntimeError;

/// A container, as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedContainer {
    /// Its id.
    pub id: String,
    name: String,
    state: String,
    keys_dir: Option<PathBuf>,
}

impl fmt::Display for ListedContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.id.get(..12).unwrap_or(&self.id);
        write!(f, "{short} {} ({})", self.name, self.state)
    }
}

/// The containers that carry the backend's label, running or not.
///
/// # Errors
/// If the engine can't list them.
pub async fn containers_of(engine: &Engine, backend: BackendId) -> Result<Vec<ListedContainer>, RuntimeError> {
    let filters = HashMap::from([("label".to_owned(), vec![format!("{}={backend}", labels::BACKEND)])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let listed = engine.docker.list_containers(Some(options)).await;
    let listed = listed.map_err(other_error("could not list the containers"))?;
    // The engine has filtered; a container of another backend must not be removed whatever it answers.
    let own = |summary: &ContainerSummary| {
        let label = summary.labels.as_ref().and_then(|labels| labels.get(labels::BACKEND));
        label.is_some_and(|label| *label == backend.to_string())
    };
    let listed = listed.into_iter().filter(own).filter_map(|summary| {
        let keys_dir = labels::keys_dir(summary.labels.as_ref());
        let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        let state = summary.state.map(|state| state.to_string()).unwrap_or_default();
        Some(ListedContainer { id: summary.id?, name: name.trim_start_matches('/').to_owned(), state, keys_dir })
    });
    Ok(listed.collect())
}

/// Removes a container with its volumes; succeeds if it is gone.
///
/// # Errors
/// If the engine can't remove it.
pub async fn remove_container(engine: &Engine, container: &ListedContainer) -> Result<(), RuntimeError> {
    match recreate::remove(&engine.docker, &container.id).await {
        Ok(()) | Err(RuntimeError::NotFound) => {}
        Err(error) => return Err(error),
    }
    if let Some(dir) = &container.keys_dir {
        keys_dir::remove(dir).await;
    }
    Ok(())
}

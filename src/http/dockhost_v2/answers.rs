//! Members of answers, beside those of this API.

use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::Ports;
use serde::Serialize;
use utoipa::ToSchema;

/// Stands in DockHostV2 for the address of a backend that is not connected.
const OFFLINE: &str = "Backend is Offline";
/// The ports of a container: SSH, HTTP, HTTPS.
const CONTAINER_PORTS: [u16; 3] = [22, 80, 443];

/// The members of [`InstanceNames`].
pub const INSTANCE_NAMES: [&str; 4] = ["_id", "running", "allocatedPorts", "updatedAt"];

/// What DockHostV2 called members of an instance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DockHostV2Instance)]
pub struct InstanceNames {
    /// The same as `instanceId`.
    #[serde(rename = "_id")]
    #[schema(value_type = Uuid, deprecated)]
    id: InstanceId,
    /// Whether `status` is `running`.
    #[schema(deprecated)]
    running: bool,
    /// The ports of its backend, each with the port of the container that it leads to; empty until they are known.
    #[serde(rename = "allocatedPorts")]
    #[schema(deprecated)]
    allocated_ports: Vec<[u16; 2]>,
    /// The same as `lastActivity`.
    #[serde(rename = "updatedAt")]
    #[schema(value_type = String, format = DateTime, deprecated)]
    updated_at: Timestamp,
}

impl InstanceNames {
    /// Of an instance with these values.
    pub fn new(id: InstanceId, running: bool, ports: Option<Ports>, last_activity: Timestamp) -> Self {
        let ports = ports.map(|Ports { ssh, http, https }| [ssh, http, https]);
        let pair = |(outside, inside)| [outside, inside];
        let allocated_ports =
            ports.map_or_else(Vec::new, |ports| ports.into_iter().zip(CONTAINER_PORTS).map(pair).collect());
        Self { id, running, allocated_ports, updated_at: last_activity }
    }
}

/// What DockHostV2 called members of the backend of an instance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DockHostV2InstanceBackend)]
pub struct PlacedOnNames {
    /// The same as the instance's `backendId`.
    #[serde(rename = "_id")]
    #[schema(value_type = Uuid, deprecated)]
    id: BackendId,
    /// The same as `name`.
    #[schema(required, deprecated)]
    username: Option<String>,
    /// Where the ports of its containers are reached, or `Backend is Offline` while it is not connected.
    #[serde(rename = "LAN_IP")]
    #[schema(deprecated)]
    lan_ip: String,
}

impl PlacedOnNames {
    /// Of a backend that is reached at this address now.
    pub fn new(id: BackendId, username: Option<String>, address: Option<String>) -> Self {
        Self { id, username, lan_ip: address.unwrap_or_else(|| OFFLINE.to_owned()) }
    }
}

/// What DockHostV2 called members of a backend.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DockHostV2Backend)]
pub struct BackendNames {
    /// The same as `id`.
    #[serde(rename = "_id")]
    #[schema(value_type = Uuid, deprecated)]
    id: BackendId,
    /// The same as `username`.
    #[schema(required, deprecated)]
    name: Option<String>,
    /// The same as `containers`.
    #[serde(rename = "containerCount")]
    #[schema(required, deprecated)]
    container_count: Option<u32>,
}

impl BackendNames {
    /// Of a backend with these values.
    pub const fn new(id: BackendId, username: Option<String>, containers: Option<u32>) -> Self {
        Self { id, name: username, container_count: containers }
    }
}

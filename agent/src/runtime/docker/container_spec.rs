//! The specification of an instance's container, including its restrictions.
//!
//! The owner is root in the container. To protect the host and other instances, the container has only the capabilities
//! that sshd and a package manager need, no new privileges, the engine's default seccomp profile, no host mounts but the
//! directory of its keys, which it can only read, limits on memory, CPU and processes, and a network without connections between containers. Disk usage is not limited,
//! because most storage drivers can't.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, PortBinding, PortMap, RestartPolicy,
    RestartPolicyNameEnum,
};
use dockhost_domain::ids::BackendId;
use dockhost_domain::wire::{Assignment, ContainerSpec, Ports};

use super::{keys_dir, labels, network};

/// Capabilities that sshd and a package manager need; none of them gives access to the host.
const CAPABILITIES: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID", "SYS_CHROOT"];

/// The input of [`body`].
pub(super) struct ContainerRequest<'a> {
    pub backend: BackendId,
    pub assignment: &'a Assignment,
    pub spec: &'a ContainerSpec,
    pub image: &'a str,
    pub ports: Ports,
    /// The address on which the ports are published; every address of this machine if absent.
    pub publish_on: Option<IpAddr>,
    /// The directory of its keys.
    pub keys_dir: Option<&'a Path>,
    pub former_ids: &'a [String],
}

/// The body of the engine's create request.
pub(super) fn body(request: &ContainerRequest<'_>) -> ContainerCreateBody {
    let ContainerRequest { backend, assignment, spec, image, ports, publish_on, keys_dir, former_ids } = request;
    ContainerCreateBody {
        image: Some(String::from(*image)),
        hostname: Some(spec.hostname.clone()),
        labels: Some(labels::of(*backend, assignment, *ports, *keys_dir, former_ids)),
        exposed_ports: Some(["22/tcp", "80/tcp", "443/tcp"].map(str::to_owned).to_vec()),
        host_config: Some(host_config(spec, bindings(*ports, *publish_on), *keys_dir)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec, port_bindings: PortMap, keys_dir: Option<&Path>) -> HostConfig {
    let memory = i64::from(spec.limits.memory_mib) * 1024 * 1024;
    HostConfig {
        memory: Some(memory),
        // Equal to `memory`, which means no swap.
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(spec.limits.cpu_millis) * 1_000_000),
        pids_limit: Some(i64::from(spec.limits.pids)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(false),
        network_mode: Some(network::NETWORK_NAME.to_owned()),
        port_bindings: Some(port_bindings),
        mounts: keys_dir.map(|dir| vec![keys_mount(dir)]),
        // Only the agent starts containers, as their assignments say.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        // Bounds the disk space of sshd's output.
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), "1m".to_owned()),
                ("max-file".to_owned(), "1".to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

fn keys_mount(dir: &Path) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(dir.display().to_string()),
        target: Some(keys_dir::MOUNT_POINT.to_owned()),
        read_only: Some(true),
        ..Mount::default()
    }
}

/// The container's ports and their host ports.
fn bindings(ports: Ports, publish_on: Option<IpAddr>) -> PortMap {
    let host_ip = publish_on.map(|address| address.to_string());
    [("22/tcp", ports.ssh), ("80/tcp", ports.http), ("443/tcp", ports.https)]
        .into_iter()
        .map(|(inside, outside)| {
            let binding = PortBinding { host_ip: host_ip.clone(), host_port: Some(outside.to_string()) };
            (inside.to_owned(), Some(vec![binding]))
        })
        .collect()
}

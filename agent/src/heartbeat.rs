//! Sends heartbeats: this machine's address, number of containers and load, and who is connected to them.
//!
//! The agent publishes on `dockhost.heartbeat.<backend>` every 5 s and after each change, at most five times per second.
//! The broker does not store heartbeats; each one contains everything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Request, ServerAddr};
use bytes::Bytes;
use dockhost_domain::ids::AgentRunId;
use dockhost_domain::reported::{BackendAddress, ShortText};
use dockhost_domain::subject::Channel;
use dockhost_domain::wire::{Heartbeat, HeartbeatAnswer};
use sysinfo::System;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::capacity::Capacity;
use crate::clock;
use crate::connect::Broker;
use crate::hold::Hold;
use crate::key::ApiKey;
use crate::machine_status::SharedStatus;
use crate::nodes::{Sign, Trouble};
use crate::reports_stream::ReportsStream;
use crate::ssh_watch::SharedSshWatch;

/// Interval between heartbeats while nothing changes.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum interval between heartbeats.
const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(200);

/// How long a heartbeat waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The address at which clients reach this machine.
#[derive(Debug, Clone)]
pub enum AdvertisedAddress {
    /// From the configuration (`LAN_IP`): an IP address or a name.
    Configured(BackendAddress),
    /// This machine's address on the route to one of these brokers.
    Detected(Vec<ServerAddr>),
}

impl AdvertisedAddress {
    async fn resolve(&self) -> BackendAddress {
        let servers = match self {
            Self::Configured(text) => return text.clone(),
            Self::Detected(servers) => servers,
        };
        for server in servers {
            let Ok(addresses) = tokio::net::lookup_host((server.host().to_owned(), server.port())).await else {
                continue;
            };
            let mut local = addresses.filter_map(local_address_towards).filter(|ip| !ip.is_loopback());
            if let Some(address) = local.find_map(BackendAddress::of_ip) {
                return address;
            }
        }
        // The broker runs on this machine. Use the address on the default route instead; 192.0.2.0/24 is reserved for
        // documentation and never local.
        let outside = SocketAddr::from(([192, 0, 2, 1], 9));
        local_address_towards(outside).and_then(BackendAddress::of_ip).unwrap_or_else(BackendAddress::localhost)
    }
}

/// This machine's address on the route to `target`. Connecting a UDP socket only looks up the route; it sends nothing.
fn local_address_towards(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr =
        if target.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Whose load and memory the heartbeats have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vitals {
    /// Those of the machine that this agent runs on.
    Measured,
    /// The containers run on a machine that does not say them; they are sent as 0.
    Unknown,
}

impl Vitals {
    /// The machine, if it is measured and has statistics.
    fn machine(self) -> Option<System> {
        match self {
            Self::Measured => System::new().ok(),
            Self::Unknown => None,
        }
    }

    fn load(self) -> f64 {
        match self {
            Self::Measured => load(),
            Self::Unknown => 0.0,
        }
    }
}

/// What the heartbeats are made of.
pub struct HeartbeatSource<'a> {
    /// This run of the agent.
    pub run: AgentRunId,
    /// The kind of the runtime.
    pub runtime: &'static str,
    /// Where clients reach this machine.
    pub address: AdvertisedAddress,
    /// Its load and memory.
    pub vitals: Vitals,
    /// The containers and their limit.
    pub capacity: &'a Capacity,
    /// Whether this machine can run containers now.
    pub status: &'a SharedStatus,
    /// Who is connected to the containers.
    pub ssh: &'a SharedSshWatch,
    /// Whether the server accepts this agent.
    pub hold: &'a Hold,
    /// Takes what the answers say about the stream of reports.
    pub reports: &'a ReportsStream,
}

impl HeartbeatSource<'_> {
    fn heartbeat(&self, address: BackendAddress, memory: f64) -> Heartbeat {
        Heartbeat {
            address,
            containers: self.capacity.used(),
            max_containers: self.capacity.max(),
            runtime: ShortText::cleaned(self.runtime),
            agent_version: ShortText::cleaned(env!("CARGO_PKG_VERSION")),
            load: self.vitals.load(),
            memory,
            at: clock::now(),
            agent_run: Some(self.run),
            leaving: false,
            size: self.capacity.size(),
            ssh_connections: self.ssh.report(),
            machine: self.status.current(),
        }
    }
}

/// Says that this agent ends, if it holds its backend: otherwise its successor would have to wait until it counts as gone. To be
/// called when nothing is under way any more.
pub async fn say_goodbye(client: &Client, key: &ApiKey, source: &HeartbeatSource<'_>) {
    if !source.hold.is_held() {
        return;
    }
    let here = source.address.resolve().await;
    let memory = source.vitals.machine().as_mut().map_or(0.0, memory);
    let heartbeat = Heartbeat { leaving: true, ..source.heartbeat(here, memory) };
    match serde_json::to_vec(&heartbeat) {
        Ok(body) => {
            if let Err(error) = client.publish(Channel::Heartbeat(key.backend()).to_string(), body.into()).await {
                tracing::debug!(%error, "could not send the last heartbeat");
            }
        }
        Err(error) => tracing::error!(%error, "could not encode a heartbeat"),
    }
}

/// Sends heartbeats until shutdown, while this agent holds its backend.
pub async fn run_heartbeats(
    broker: Broker,
    key: &ApiKey,
    source: &HeartbeatSource<'_>,
    changed: &Arc<Notify>,
    stop: &CancellationToken,
) {
    let Broker { client, mut connections, trouble, addresses } = broker;
    let mut status_changes = source.status.changes();
    let subject = Channel::Heartbeat(key.backend()).to_string();
    // On a machine without memory statistics, the memory is reported as 0.
    let mut machine = source.vitals.machine();
    let mut here = source.address.resolve().await;
    let mut question: Option<AbortOnDropHandle<()>> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = source.hold.held() => {}
        }
        status_changes.mark_unchanged();
        let heartbeat = source.heartbeat(here.clone(), machine.as_mut().map_or(0.0, memory));
        match serde_json::to_vec(&heartbeat) {
            Ok(body) => {
                let (client, subject, body) = (client.clone(), subject.clone(), Bytes::from(body));
                // With one address there is no node to go to.
                if addresses > 1 && question.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
                    let asked = tokio::spawn(ask(client, subject, body, trouble.clone(), source.reports.clone()));
                    question = Some(AbortOnDropHandle::new(asked));
                } else if let Err(error) = client.publish(subject, body).await {
                    tracing::debug!(%error, "could not send a heartbeat");
                }
            }
            Err(error) => tracing::error!(%error, "could not encode a heartbeat"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(MIN_HEARTBEAT_INTERVAL) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HEARTBEAT_INTERVAL - MIN_HEARTBEAT_INTERVAL) => {}
            () = changed.notified() => {}
            Ok(()) = status_changes.changed() => {}
            // A new connection may use another route and so another address.
            Ok(()) = connections.changed() => here = source.address.resolve().await,
        }
    }
}

/// Sends a heartbeat as a question: a server whose broker works answers it. Without a server the broker says so at once.
async fn ask(client: Client, subject: String, body: Bytes, trouble: Trouble, reports: ReportsStream) {
    let request = Request::new().payload(body).timeout(Some(ANSWER_TIMEOUT));
    let answer = client.send_request(subject, request).await;
    match &answer {
        // Earlier servers answer without a body.
        Ok(message) => {
            if let Ok(HeartbeatAnswer { reports_created_at }) = serde_json::from_slice(&message.payload) {
                reports.observe(reports_created_at);
            }
        }
        Err(error) => tracing::debug!(%error, "no server answered a heartbeat"),
    }
    trouble.record(Sign::Heartbeats, answer.is_ok());
}

/// One-minute load average divided by the number of processors.
fn load() -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    System::load_average().map_or(0.0, |load| load.one) / processors as f64
}

/// Memory in use, 0 to 1.
fn memory(machine: &mut System) -> f64 {
    machine.refresh_memory();
    let total = machine.total_memory();
    if total == 0 { 0.0 } else { machine.used_memory() as f64 / total as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn advertised_address_configured_is_used_else_detected() {
        assert_eq!(AdvertisedAddress::Configured("box.lan".parse().unwrap()).resolve().await.as_str(), "box.lan");
        let found = AdvertisedAddress::Detected(vec!["nats://127.0.0.1:4222".parse().unwrap()]).resolve().await;
        assert!(found.as_str().parse::<IpAddr>().is_ok(), "{found}");
        assert_eq!(local_address_towards(([127, 0, 0, 1], 9).into()), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn load_and_memory_are_within_their_ranges() {
        let memory = memory(&mut System::new().unwrap());
        assert!((0.0..=1.0).contains(&memory), "{memory}");
        assert!(load() >= 0.0);
    }
}

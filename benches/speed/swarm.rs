//! Many agents in one process. Each has its own connection, says hello, keeps a pull request open and sends a heartbeat
//! every 5 s, as `docs/EVENTS.md` requires. None acts on its assignments.

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use dockhost_domain::ids::{AgentRunId, BackendId};
use dockhost_domain::reported::{BackendAddress, ShortText};
use dockhost_domain::subject::Channel;
use dockhost_domain::wire::{Heartbeat, Hello, MachineStatus, Welcome};
use futures::StreamExt;
use serde_json::json;
use tokio::task::JoinSet;

const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
const MAX_CONCURRENT_CONNECTS: usize = 16;

/// Connected agents; dropping it disconnects them.
pub struct Swarm {
    _agents: JoinSet<()>,
}

impl Swarm {
    /// Connects one agent per key; returns when each has its welcome.
    pub async fn connect(url: &str, keys: Vec<(BackendId, String)>) -> Self {
        let connected: Vec<_> = futures::stream::iter(keys)
            .map(|(id, key)| async move { say_hello(url, id, key).await })
            .buffer_unordered(MAX_CONCURRENT_CONNECTS)
            .collect()
            .await;
        let mut agents = JoinSet::new();
        let count = u32::try_from(connected.len()).unwrap();
        for (number, (id, client, welcome)) in (0..).zip(connected) {
            agents.spawn(send_heartbeats(client.clone(), id, HEARTBEAT_INTERVAL * number / count));
            agents.spawn(pull(client, welcome));
        }
        Self { _agents: agents }
    }
}

/// The run of a backend's only agent.
fn run_of(id: BackendId) -> AgentRunId {
    AgentRunId::from_uuid(id.uuid())
}

async fn say_hello(url: &str, id: BackendId, key: String) -> (BackendId, Client, Welcome) {
    let options = ConnectOptions::with_token(key).custom_inbox_prefix(format!("_INBOX.{id}"));
    let client = options.connect(url).await.unwrap();
    let hello = serde_json::to_vec(&Hello {
        agent_version: ShortText::cleaned("bench"),
        agent_run: Some(run_of(id)),
        key_digest: None,
    })
    .unwrap();
    let answer = client.request(Channel::Hello(id).to_string(), hello.into()).await.unwrap();
    (id, client, serde_json::from_slice(&answer.payload).unwrap())
}

/// Sends heartbeats, the first after `phase`, so that the heartbeats of all agents are spread evenly.
async fn send_heartbeats(client: Client, id: BackendId, phase: Duration) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + phase, HEARTBEAT_INTERVAL);
    loop {
        ticks.tick().await;
        let heartbeat = Heartbeat {
            address: BackendAddress::localhost(),
            containers: 10,
            max_containers: 20,
            runtime: ShortText::cleaned("simulated"),
            agent_version: ShortText::cleaned("bench"),
            load: 0.1,
            memory: 0.1,
            at: dockhost::common::clock::now(),
            agent_run: Some(run_of(id)),
            leaving: false,
            size: None,
            ssh_connections: None,
            machine: MachineStatus::default(),
        };
        let body = serde_json::to_vec(&heartbeat).unwrap();
        client.publish(Channel::Heartbeat(id).to_string(), body.into()).await.unwrap();
    }
}

/// Sends one pull request after the other, as the agent does.
async fn pull(client: Client, welcome: Welcome) {
    let inbox = client.new_inbox();
    let mut inbound = client.subscribe(inbox.clone()).await.unwrap();
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", welcome.stream, welcome.consumer);
    let second = 1_000_000_000_u64;
    let request = json!({ "batch": 256, "expires": 30 * second, "idle_heartbeat": 5 * second }).to_string();
    loop {
        client.publish_with_reply(subject.clone(), inbox.clone(), request.clone().into()).await.unwrap();
        loop {
            let Some(message) = inbound.next().await else { return };
            match message.status.map(|status| status.as_u16()) {
                None | Some(100 | 200) => {}
                Some(_) => break,
            }
        }
    }
}

/// The number of messages in a stream.
pub async fn stored(js: &async_nats::jetstream::Context, stream: &str) -> u64 {
    js.get_stream(stream).await.unwrap().cached_info().state.messages
}

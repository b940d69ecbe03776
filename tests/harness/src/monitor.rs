//! What the broker itself says about its connections and its memory, asked with the system account.

use std::time::Duration;

use dockhost::broker::connect::Broker;
use futures::StreamExt;
use serde_json::{Value, json};

use super::Nats;
use super::wait::DEADLINE;

/// After this long without a reply, all nodes have replied.
const MAX_REPLY_GAP: Duration = Duration::from_secs(1);

/// A client of the system account.
pub struct Monitor(Broker);

/// One connection to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The id of its node.
    pub node: String,
    /// Its number on the node; a connection that was cut comes back with another one.
    pub cid: u64,
    pub name: String,
    /// The subjects that it subscribes to.
    pub subjects: Vec<String>,
}

impl Monitor {
    pub async fn of(nats: &Nats) -> Self {
        Self(Broker::connect(&nats.url(), &nats.secrets.nats_system, "monitor", DEADLINE).await.unwrap())
    }

    /// The replies of all nodes to a request.
    async fn ask(&self, request: &str, body: Value) -> Vec<Value> {
        let client = self.0.client();
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await.unwrap();
        let subject = format!("$SYS.REQ.SERVER.PING.{request}");
        client.publish_with_reply(subject, inbox, body.to_string().into()).await.unwrap();
        let mut nodes = Vec::new();
        while let Ok(Some(reply)) = tokio::time::timeout(MAX_REPLY_GAP, replies.next()).await {
            nodes.push(serde_json::from_slice(&reply.payload).unwrap());
        }
        nodes
    }

    /// The open connections of the servers: two of each replica.
    pub async fn server_connections(&self) -> Vec<Connection> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut connections = Vec::new();
        for node in self.ask("CONNZ", json!({ "subscriptions": true, "limit": 10_000 })).await {
            for one in node["data"]["connections"].as_array().into_iter().flatten() {
                let subjects = one["subscriptions_list"].as_array().into_iter().flatten().map(text).collect();
                let cid = one["cid"].as_u64().unwrap();
                connections.push(Connection {
                    node: text(&node["server"]["id"]),
                    cid,
                    name: text(&one["name"]),
                    subjects,
                });
            }
        }
        let is_server = |name: &str| name.starts_with("dockhost-") && !name.starts_with("dockhost-agent ");
        connections.retain(|connection| is_server(&connection.name));
        connections
    }

    /// Closes a connection.
    pub async fn kick(&self, connection: &Connection) {
        let subject = format!("$SYS.REQ.SERVER.{}.KICK", connection.node);
        let body = json!({ "cid": connection.cid }).to_string();
        self.0.client().request(subject, body.into()).await.unwrap();
    }

    /// Connections that the broker cut because they read too slowly, of all nodes since their start.
    pub async fn slow_consumers(&self) -> u64 {
        self.sum("slow_consumers").await
    }

    /// The memory of all nodes in bytes.
    pub async fn memory(&self) -> u64 {
        self.sum("mem").await
    }

    /// The name of the node that leads the cluster's metadata.
    pub async fn meta_leader(&self) -> Option<String> {
        let nodes = self.ask("JSZ", json!({})).await;
        nodes.iter().find_map(|node| Some(node["data"]["meta_cluster"]["leader"].as_str()?.to_owned()))
    }

    async fn sum(&self, field: &str) -> u64 {
        let nodes = self.ask("VARZ", json!({})).await;
        nodes.iter().map(|node| node["data"][field].as_u64().unwrap_or(0)).sum()
    }
}

//! Lets another node lead a stream or a consumer. That loses nothing: what was acknowledged is on most of its nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Info, PeerInfo};
use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::common::error::Cause;

/// How long the broker may take to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// How long it may take to move the consumers of a stream.
const CONSUMERS_TIMEOUT: Duration = Duration::from_secs(20);
/// A node that its stream's leader has heard so lately takes part.
const MAX_SILENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Done {
    success: bool,
}

/// The node that leads a stream with several copies, if it hears enough of the other nodes to store anything.
#[must_use]
pub fn leader_with_quorum(info: &Info) -> Option<&str> {
    let cluster = info.cluster.as_ref()?;
    let heard = cluster.replicas.iter().filter(|peer| is_heard(peer)).count();
    let has_quorum = !cluster.replicas.is_empty() && (heard + 1) * 2 > cluster.replicas.len() + 1;
    cluster.leader.as_deref().filter(|_| has_quorum)
}

fn is_heard(peer: &PeerInfo) -> bool {
    !peer.offline && peer.active < MAX_SILENCE
}

/// The node that should lead next: one that takes part, if possible one that has everything and did not lead before.
#[must_use]
pub fn successor(info: &Info, led_before: &BTreeSet<String>) -> Option<String> {
    let peers = info.cluster.iter().flat_map(|cluster| &cluster.replicas).filter(|peer| is_heard(peer));
    peers.min_by_key(|peer| (led_before.contains(&peer.name), !peer.current)).map(|peer| peer.name.clone())
}

/// Asks the stream's leader to let another node lead: `successor`, or any that can if that fails.
///
/// # Errors
/// If the broker refuses or does not answer in time.
pub async fn step_down(js: &Context, stream: &str, successor: Option<&str>) -> Result<(), Cause> {
    let subject = format!("STREAM.LEADER.STEPDOWN.{stream}");
    if let Some(successor) = successor {
        let request = json!({ "placement": { "preferred": successor } });
        match ask(js, &subject, &request).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::debug!(stream, successor, %error, "this node can't be made the stream's leader"),
        }
    }
    ask(js, &subject, &json!({})).await
}

/// Lets other nodes lead the consumers of a stream that `node` leads; returns how many.
///
/// # Errors
/// If the broker refuses or does not answer in time. Some consumers may have another leader then.
pub async fn step_down_consumers(js: &Context, stream: &str, node: &str) -> Result<usize, Cause> {
    timeout(CONSUMERS_TIMEOUT, async {
        let handle = js.get_stream(stream).await?;
        let mut consumers = handle.consumers();
        let mut moved = 0;
        while let Some(consumer) = consumers.try_next().await? {
            if consumer.cluster.and_then(|cluster| cluster.leader).is_some_and(|leader| leader == node) {
                ask(js, &format!("CONSUMER.LEADER.STEPDOWN.{stream}.{}", consumer.name), &json!({})).await?;
                moved += 1;
            }
        }
        Ok(moved)
    })
    .await?
}

async fn ask(js: &Context, subject: &str, request: &serde_json::Value) -> Result<(), Cause> {
    match timeout(REQUEST_TIMEOUT, js.request(subject.to_owned(), request)).await?? {
        Response::Ok(Done { success: true }) => Ok(()),
        Response::Ok(Done { success: false }) => Err("the leader did not step down".into()),
        Response::Err { error } => Err(error.into()),
    }
}

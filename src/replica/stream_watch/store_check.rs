//! Probes the streams, and carries out what [`super::storing`] decides.

use std::time::Duration;

use async_nats::jetstream::stream::Info;
use futures::future::join_all;
use std::sync::Arc;
use tokio::time::Instant;

use super::storing::{Remedy, Situation, StoreWatch};
use crate::broker::connect::Broker;
use crate::broker::streams::remake::{REMAKEABLE, StreamSight};
use crate::broker::streams::step_down::{leader_with_quorum, step_down, successor};
use crate::broker::streams::store_probe::{PROBED, Probed, publish};
use crate::broker::streams::{EVENTS, KEYS_STREAM};
use crate::broker::write_probe::MAX_PROOF_AGE;
use crate::broker::write_proof::WriteProof;

/// What the broker says about each stream.
pub type Sights = [(&'static str, StreamSight)];

/// A stream has stored nothing with any leader, for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoresNothing(pub &'static str, pub Duration);

/// Knows which streams store.
pub struct StoreCheck {
    watch: StoreWatch,
    broker: Broker,
    proof: Arc<WriteProof>,
}

impl StoreCheck {
    /// Makes a stream again that has stored nothing for `patience`.
    pub const fn new(patience: Duration, broker: Broker, proof: Arc<WriteProof>) -> Self {
        Self { watch: StoreWatch::new(patience), broker, proof }
    }

    /// The streams that store nothing, and since when.
    pub fn failing(&self) -> Vec<(&'static str, Instant)> {
        self.watch.failing().collect()
    }

    /// Probes the streams of which nothing else shows that they store. Returns those that do, although the broker says
    /// that they have no leader: a node whose own copy is broken can answer so while the others store.
    pub async fn probe(&mut self, sights: &Sights) -> Vec<&'static str> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (stream, subject) in PROBED {
            let is_due = match sight_of(sights, stream) {
                StreamSight::Led(info) => has_copies(info) && self.watch.observe(stream, info.state.last_sequence, now),
                StreamSight::Leaderless => true,
                StreamSight::Missing | StreamSight::Unknown => false,
            };
            if is_due {
                due.push((stream, subject));
            }
        }
        let probes = due.into_iter().map(|(stream, subject)| {
            let client = self.broker.client();
            async move { (stream, Instant::now(), publish(client, subject).await) }
        });
        let mut contradicted = Vec::new();
        for (stream, began, probed) in join_all(probes).await {
            match (probed, sight_of(sights, stream)) {
                (Probed::Stored, StreamSight::Leaderless) => {
                    self.watch.stored(stream, began);
                    contradicted.push(stream);
                }
                (Probed::Stored, _) => self.watch.stored(stream, began),
                (Probed::NotStored, StreamSight::Led(_)) => self.watch.not_stored(stream, began),
                (Probed::NotStored | Probed::Unknown, _) => {}
            }
        }
        match self.proof.doubted_since() {
            Some(began) => self.watch.not_stored(EVENTS, began),
            None => self.watch.stored(EVENTS, now),
        }
        contradicted
    }

    /// Makes other nodes the leaders of streams that store nothing; returns those streams with their former leaders, and a
    /// stream that should be made again.
    pub async fn remedy(&mut self, sights: &Sights) -> (Vec<(&'static str, String)>, Option<StoresNothing>) {
        let log_stores = self.proof.doubted_since().is_none() && self.proof.age() < MAX_PROOF_AGE;
        let (mut moved, mut hopeless) = (Vec::new(), None);
        for (stream, since) in self.failing() {
            let StreamSight::Led(info) = sight_of(sights, stream) else { continue };
            let found = Situation {
                leader: leader_with_quorum(info),
                copies: info.config.num_replicas,
                may_be_remade: log_stores && REMAKEABLE.contains(&stream),
            };
            let Some(leader) = found.leader else { continue };
            match self.watch.decide(stream, found, Instant::now()) {
                Some(Remedy::MoveLeader) => {
                    self.move_leader(stream, leader, info).await;
                    moved.push((stream, leader.to_owned()));
                }
                Some(Remedy::Remake) => hopeless = Some(StoresNothing(stream, since.elapsed())),
                None => {}
            }
        }
        (moved, hopeless)
    }

    async fn move_leader(&self, stream: &'static str, leader: &str, info: &Info) {
        let successor = successor(info, &self.watch.led_before(stream));
        tracing::error!(
            stream,
            leader,
            successor,
            "a stream of the broker stores nothing, although it has a leader; asking for another leader. The disk of the \
             leader's node may be full: make room and restart that nats-server"
        );
        if let Err(error) = step_down(self.broker.jetstream(), stream, successor.as_deref()).await {
            tracing::warn!(stream, leader, %error, "the leader of a stream did not step down");
        }
    }
}

const fn has_copies(info: &Info) -> bool {
    info.config.num_replicas > 1
}

fn sight_of<'a>(sights: &'a Sights, stream: &str) -> &'a StreamSight {
    sights.iter().find(|(name, _)| *name == stream).map_or(&StreamSight::Unknown, |(_, sight)| sight)
}

/// All streams that are watched.
pub fn watched() -> impl Iterator<Item = &'static str> {
    [EVENTS, KEYS_STREAM].into_iter().chain(REMAKEABLE)
}

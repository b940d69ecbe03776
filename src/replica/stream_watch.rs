//! Watches whether each stream has a leader and stores, and mends those that don't.
//!
//! After a power cut of a whole cluster the copies of a stream can be left so that none of them may lead: each waits for a
//! leader to fetch from what it lacks, for ever. That happens to streams that are empty most of the time. Every replica
//! watches, because there may be no leader among them either. A random part of the wait, and a last look before the act,
//! make it likely that one replica acts; if two do, the second only repeats what the first one did.
//!
//! After a full disk a stream can have a leader and store nothing, and a node can keep a copy that takes nothing more.
//! Then other nodes are made the leaders of the stream, and of the consumers that this node leads.
//!
//! - `decide`: streams without a leader. `storing`: streams that store nothing; `store_check` probes them. `lagging`: copies
//!   that stay behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::connect::Broker;
use crate::broker::streams::incarnation::LastSeen;
use crate::broker::streams::remake::{self, REMAKEABLE, StreamSight};
use crate::broker::streams::step_down::step_down_consumers;
use crate::broker::streams::{EVENTS, REPORTS};
use crate::broker::write_proof::WriteProof;
use crate::common::error::chain;
use decide::{Action, Leadership, Watchdog};
use lagging::Lagging;
use store_check::{StoreCheck, StoresNothing};

pub mod decide;
mod lagging;
mod store_check;
pub mod storing;

/// How often the broker is asked.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// The same while a stream stores nothing.
const CHECK_INTERVAL_WHEN_FAILING: Duration = Duration::from_secs(1);
/// How long one question may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the broker is asked about a stream that stores, until its leader answers.
const ATTEMPTS_TO_FIND_LEADER: usize = 8;
/// How long a stream must have had no leader: several times as long as an election takes.
const MIN_PATIENCE: Duration = Duration::from_secs(30);
/// What is added to it at most, differently in each replica.
const MAX_EXTRA_PATIENCE: Duration = Duration::from_secs(10);
/// How long `/health` mentions that a stream was made again or got another leader.
const MENTIONED_FOR: Duration = Duration::from_secs(600);

/// What this replica knows about the streams.
#[derive(Debug, Default)]
pub struct StreamWatch {
    known: Mutex<Known>,
    reports: Arc<LastSeen>,
}

#[derive(Debug, Default)]
struct Known {
    leaderless: BTreeMap<&'static str, Instant>,
    remade: Vec<(&'static str, Instant)>,
    absent: BTreeSet<String>,
    unstored: BTreeMap<&'static str, Instant>,
    moved: BTreeMap<(&'static str, String), Instant>,
    lagging: BTreeSet<lagging::Copy>,
}

impl StreamWatch {
    /// When the stream of reports was created.
    #[must_use]
    pub const fn reports(&self) -> &Arc<LastSeen> {
        &self.reports
    }

    /// The streams without a leader, and for how long.
    #[must_use]
    pub fn leaderless(&self) -> Vec<(&'static str, Duration)> {
        self.known().leaderless.iter().map(|(stream, since)| (*stream, since.elapsed())).collect()
    }

    /// The streams that this replica has made again recently, and how long ago.
    #[must_use]
    pub fn remade(&self) -> Vec<(&'static str, Duration)> {
        let mut known = self.known();
        known.remade.retain(|(_, at)| at.elapsed() < MENTIONED_FOR);
        known.remade.iter().map(|(stream, at)| (*stream, at.elapsed())).collect()
    }

    /// The streams that have a leader and store nothing, and for how long.
    #[must_use]
    pub fn unstored(&self) -> Vec<(&'static str, Duration)> {
        self.known().unstored.iter().map(|(stream, since)| (*stream, since.elapsed())).collect()
    }

    /// The streams that this replica has recently given another leader, each with the former leader, and how long ago.
    #[must_use]
    pub fn moved(&self) -> Vec<(&'static str, String, Duration)> {
        let mut known = self.known();
        known.moved.retain(|_, at| at.elapsed() < MENTIONED_FOR);
        known.moved.iter().map(|((stream, node), at)| (*stream, node.clone(), at.elapsed())).collect()
    }

    /// The streams of which a node's copy stays behind, although the node is heard, with that node.
    #[must_use]
    pub fn lagging(&self) -> Vec<(&'static str, String)> {
        self.known().lagging.iter().cloned().collect()
    }

    /// The broker's nodes that keep no copy of the event log, although they should.
    #[must_use]
    pub fn absent_nodes(&self) -> Vec<String> {
        self.known().absent.iter().cloned().collect()
    }

    /// Watches until cancelled. A stream that is made again gets `copies`.
    pub async fn run(
        self: Arc<Self>,
        broker: Broker,
        proof: Arc<WriteProof>,
        copies: usize,
        cancel: CancellationToken,
    ) {
        cancel.run_until_cancelled(self.watch(broker, proof, copies)).await;
    }

    async fn watch(&self, broker: Broker, proof: Arc<WriteProof>, copies: usize) {
        let patience = MIN_PATIENCE + MAX_EXTRA_PATIENCE.mul_f64(rand::random());
        let (mut watchdog, mut lagging) = (Watchdog::new(patience), Lagging::default());
        let mut store = StoreCheck::new(patience, broker.clone(), proof);
        let js = broker.jetstream();
        loop {
            let is_failing = !self.known().unstored.is_empty();
            let interval = if is_failing { CHECK_INTERVAL_WHEN_FAILING } else { CHECK_INTERVAL };
            sleep(interval.mul_f64(rand::random_range(0.8..=1.2))).await;
            let mut sights =
                join_all(store_check::watched().map(async |stream| (stream, look(js, stream).await))).await;
            let contradicted = store.probe(&sights).await;
            for (stream, sight) in sights.iter_mut().filter(|(stream, _)| contradicted.contains(stream)) {
                *sight = look_for_leader(js, stream).await;
            }
            let (moved, hopeless) = store.remedy(&sights).await;
            self.record_store(store.failing(), moved);
            self.check_copies(js, &sights, &mut lagging).await;
            let leaderships: Vec<_> = sights
                .iter()
                .map(|(stream, sight)| (*stream, leadership(sight, contradicted.contains(stream))))
                .collect();
            self.record(&leaderships);
            let events = leaderships.iter().find(|(stream, _)| *stream == EVENTS);
            let events = events.map_or(Leadership::Unknown, |(_, leadership)| *leadership);
            let streams: Vec<_> = leaderships.into_iter().filter(|(stream, _)| REMAKEABLE.contains(stream)).collect();
            match watchdog.observe(events, &streams, Instant::now()) {
                None => {}
                Some(Action::Create(stream)) => {
                    report(stream, "create", remake::create(js, stream, copies).await);
                }
                Some(Action::Remake(stream, leaderless)) => self.remake(js, stream, leaderless, copies).await,
            }
            if let Some(hopeless) = hopeless {
                self.remake_silent(js, hopeless, copies).await;
            }
        }
    }

    /// Notes the nodes without a copy of the log, and those whose copy of any stream stays behind; makes other nodes the
    /// leaders of their consumers.
    async fn check_copies(&self, js: &Context, sights: &store_check::Sights, lagging: &mut Lagging) {
        let now = Instant::now();
        for (stream, sight) in sights {
            let StreamSight::Led(info) = sight else { continue };
            match *stream {
                EVENTS => self.record_absent(remake::absent_copies(info)),
                REPORTS => self.reports.record(info),
                _ => {}
            }
            lagging.observe(stream, &remake::lagging_copies(info), now);
        }
        self.record_lagging(lagging.copies(now));
        for (stream, node) in lagging.due(now) {
            match step_down_consumers(js, stream, &node).await {
                Ok(0) => {}
                Ok(consumers) => {
                    tracing::warn!(stream, node, consumers, "made other nodes the leaders of consumers on this node");
                }
                Err(error) => tracing::warn!(stream, node, %error, "consumers on a node can't get other leaders"),
            }
        }
    }

    async fn remake(&self, js: &Context, stream: &'static str, leaderless: Duration, copies: usize) {
        // Another replica may have made it again, or it may have a leader since.
        if look(js, stream).await != StreamSight::Leaderless {
            return;
        }
        let seconds = leaderless.as_secs();
        tracing::error!(
            stream,
            seconds,
            "a stream of the broker has no leader, although the event log has one; deleting it and making it again"
        );
        self.remake_now(js, stream, copies).await;
    }

    async fn remake_silent(&self, js: &Context, StoresNothing(stream, silent): StoresNothing, copies: usize) {
        let seconds = silent.as_secs();
        tracing::error!(
            stream,
            seconds,
            "a stream of the broker stores nothing with any leader, although the event log does; deleting it and making it \
             again"
        );
        self.remake_now(js, stream, copies).await;
    }

    async fn remake_now(&self, js: &Context, stream: &'static str, copies: usize) {
        let outcome = remake::remake(js, stream, copies).await;
        if outcome.is_ok() {
            self.known().remade.push((stream, Instant::now()));
        }
        report(stream, "make again", outcome);
    }

    /// Records which streams store nothing and which got other leaders, and logs what has changed.
    fn record_store(&self, failing: Vec<(&'static str, Instant)>, moved: Vec<(&'static str, String)>) {
        let mut known = self.known();
        let failing = BTreeMap::from_iter(failing);
        for (stream, since) in known.unstored.iter().filter(|(stream, _)| !failing.contains_key(*stream)) {
            tracing::info!(stream, seconds = since.elapsed().as_secs(), "the stream of the broker stores again");
        }
        known.unstored = failing;
        known.moved.extend(moved.into_iter().map(|moved| (moved, Instant::now())));
    }

    /// Records the copies that stay behind, and logs what has changed.
    fn record_lagging(&self, lagging: BTreeSet<lagging::Copy>) {
        let mut known = self.known();
        for (stream, node) in lagging.difference(&known.lagging) {
            tracing::warn!(
                stream,
                node,
                "a node of the broker does not keep up its copy of a stream; if its disk was full, make room and restart \
                 that nats-server"
            );
        }
        for (stream, node) in known.lagging.difference(&lagging) {
            tracing::info!(stream, node, "the node of the broker keeps up its copy of the stream again");
        }
        known.lagging = lagging;
    }

    /// Records what the broker said, and logs what has changed.
    fn record(&self, streams: &[(&'static str, Leadership)]) {
        let mut known = self.known();
        for (stream, leadership) in streams {
            match leadership {
                Leadership::Leaderless if !known.leaderless.contains_key(stream) => {
                    tracing::warn!(stream, "a stream of the broker has no leader");
                    known.leaderless.insert(stream, Instant::now());
                }
                Leadership::Led | Leadership::Missing => {
                    if let Some(since) = known.leaderless.remove(stream) {
                        tracing::info!(stream, seconds = since.elapsed().as_secs(), "the stream has a leader again");
                    }
                }
                Leadership::Leaderless | Leadership::Unknown => {}
            }
        }
    }

    /// Records the nodes without a copy of the event log, and logs what has changed.
    fn record_absent(&self, absent: BTreeSet<String>) {
        let mut known = self.known();
        for node in absent.difference(&known.absent) {
            tracing::warn!(
                node,
                "a node of the broker keeps no copy of the event log: it is down, or its JetStream is disabled because \
                 its disk was full; make room and restart that nats-server"
            );
        }
        for node in known.absent.difference(&absent) {
            tracing::info!(node, "the node of the broker keeps a copy of the event log again");
        }
        known.absent = absent;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks repeatedly about a stream that has a leader, because a node whose copy is broken may answer first.
async fn look_for_leader(js: &Context, stream: &str) -> StreamSight {
    let mut sight = StreamSight::Unknown;
    for _ in 0..ATTEMPTS_TO_FIND_LEADER {
        sight = look(js, stream).await;
        if sight != StreamSight::Leaderless {
            break;
        }
    }
    sight
}

async fn look(js: &Context, stream: &str) -> StreamSight {
    timeout(CHECK_TIMEOUT, remake::look(js, stream)).await.unwrap_or(StreamSight::Unknown)
}

/// A stream that stores has a leader, also if a node says otherwise.
const fn leadership(sight: &StreamSight, stores: bool) -> Leadership {
    match sight {
        StreamSight::Led(_) => Leadership::Led,
        StreamSight::Leaderless if stores => Leadership::Led,
        StreamSight::Leaderless => Leadership::Leaderless,
        StreamSight::Missing => Leadership::Missing,
        StreamSight::Unknown => Leadership::Unknown,
    }
}

fn report(stream: &str, action: &str, outcome: Result<(), crate::broker::streams::StreamError>) {
    match outcome {
        Ok(()) => tracing::warn!(stream, action, "a stream of the broker was created; it is filled again"),
        Err(error) => tracing::warn!(stream, action, error = chain(&error), "a stream of the broker can't be created"),
    }
}

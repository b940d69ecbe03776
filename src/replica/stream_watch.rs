//! Watches whether each stream has a leader, and makes those again that never get one.
//!
//! After a power cut of a whole cluster the copies of a stream can be left so that none of them may lead: each waits for a
//! leader to fetch from what it lacks, for ever. That happens to streams that are empty most of the time. Every replica
//! watches, because there may be no leader among them either. A random part of the wait, and a last look before the act,
//! make it likely that one replica acts; if two do, the second only repeats what the first one did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::streams::remake::{self, REMAKEABLE, StreamSight};
use crate::broker::streams::{EVENTS, KEYS_STREAM};
use crate::common::error::chain;
use decide::{Action, Leadership, Watchdog};

pub mod decide;

/// How often the broker is asked.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// How long one question may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a stream must have had no leader: several times as long as an election takes.
const MIN_PATIENCE: Duration = Duration::from_secs(30);
/// What is added to it at most, differently in each replica.
const MAX_EXTRA_PATIENCE: Duration = Duration::from_secs(10);
/// How long `/health` mentions that a stream was made again.
const MENTION_REMADE: Duration = Duration::from_secs(600);

/// What this replica knows about the streams.
#[derive(Debug, Default)]
pub struct StreamWatch {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    leaderless: BTreeMap<&'static str, Instant>,
    remade: Vec<(&'static str, Instant)>,
    absent: BTreeSet<String>,
}

impl StreamWatch {
    /// The streams without a leader, and for how long.
    #[must_use]
    pub fn leaderless(&self) -> Vec<(&'static str, Duration)> {
        self.known().leaderless.iter().map(|(stream, since)| (*stream, since.elapsed())).collect()
    }

    /// The streams that this replica has made again recently, and how long ago.
    #[must_use]
    pub fn remade(&self) -> Vec<(&'static str, Duration)> {
        let mut known = self.known();
        known.remade.retain(|(_, at)| at.elapsed() < MENTION_REMADE);
        known.remade.iter().map(|(stream, at)| (*stream, at.elapsed())).collect()
    }

    /// The broker's nodes that keep no copy of the event log, although they should.
    #[must_use]
    pub fn absent_nodes(&self) -> Vec<String> {
        self.known().absent.iter().cloned().collect()
    }

    /// Watches until cancelled. A stream that is made again gets `copies`.
    pub async fn run(self: Arc<Self>, js: Context, copies: usize, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.watch(&js, copies)).await;
    }

    async fn watch(&self, js: &Context, copies: usize) {
        let mut watchdog = Watchdog::new(MIN_PATIENCE + MAX_EXTRA_PATIENCE.mul_f64(rand::random()));
        loop {
            sleep(CHECK_INTERVAL.mul_f64(rand::random_range(0.8..=1.2))).await;
            let (events, keys, streams) = tokio::join!(
                look(js, EVENTS),
                look(js, KEYS_STREAM),
                join_all(REMAKEABLE.map(async |stream| (stream, leadership(&look(js, stream).await)))),
            );
            if let StreamSight::Led(info) = &events {
                self.record_absent(remake::absent_copies(info));
            }
            let (events, keys) = (leadership(&events), leadership(&keys));
            self.record(&[&[(EVENTS, events), (KEYS_STREAM, keys)], &*streams].concat());
            match watchdog.observe(events, &streams, Instant::now()) {
                None => {}
                Some(Action::Create(stream)) => {
                    report(stream, "create", remake::create(js, stream, copies).await);
                }
                Some(Action::Remake(stream, leaderless)) => self.remake(js, stream, leaderless, copies).await,
            }
        }
    }

    async fn remake(&self, js: &Context, stream: &'static str, leaderless: Duration, copies: usize) {
        // Another replica may have made it again, or it may have a leader since.
        if leadership(&look(js, stream).await) != Leadership::Leaderless {
            return;
        }
        let seconds = leaderless.as_secs();
        tracing::error!(
            stream,
            seconds,
            "a stream of the broker has no leader, although the event log has one; deleting it and making it again"
        );
        let outcome = remake::remake(js, stream, copies).await;
        if outcome.is_ok() {
            self.known().remade.push((stream, Instant::now()));
        }
        report(stream, "make again", outcome);
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

async fn look(js: &Context, stream: &str) -> StreamSight {
    timeout(CHECK_TIMEOUT, remake::look(js, stream)).await.unwrap_or(StreamSight::Unknown)
}

const fn leadership(sight: &StreamSight) -> Leadership {
    match sight {
        StreamSight::Led(_) => Leadership::Led,
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

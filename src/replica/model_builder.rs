//! Builds the read models of which this replica has a newer fold version than the documents. Every replica runs it; the
//! leader, which may be an older program, continues to project the live documents meanwhile.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dockhost_projections::rebuild::Rebuilt;
use dockhost_projections::registry::{ModelInfo, ModelVisitor};
use dockhost_projections::self_build::{BUILD_LEASE, BuildMonitor, build, is_outdated};
use dockhost_projections::store::{Checkpoint, MongoStore};
use dockhost_projections::{Progress, ProjectionError, ReadModel, StoreError, read_checkpoints, visit_selected};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::common::error::chain;
use crate::event_log::EventLog;
use crate::event_log::history::LogHistory;
use crate::event_log::jetstream::JetStreamLog;

/// How often it reads the checkpoints.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a failed build of a model.
const RETRY_DELAY: Duration = Duration::from_secs(30);
/// How often the progress is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Builds read models in this program's fold versions.
pub struct ModelBuilder {
    log: Arc<JetStreamLog>,
    store: MongoStore,
    monitor: BuildMonitor,
    /// When to retry a model whose build failed.
    retry_at: BTreeMap<&'static str, Instant>,
}

impl ModelBuilder {
    /// Has not read any checkpoint yet.
    pub fn new(log: Arc<JetStreamLog>, store: MongoStore) -> Self {
        Self { log, store, monitor: BuildMonitor::default(), retry_at: BTreeMap::new() }
    }

    /// Builds one model after the other until cancelled. The next builder takes over a build that this interrupts.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(polls.tick()).await.is_some() {
            // The projector reports an unavailable database.
            for (model, checkpoint) in read_checkpoints(&self.store).await.unwrap_or_default() {
                if let Some(checkpoint) = checkpoint.filter(|checkpoint| self.should_build(&model, checkpoint)) {
                    cancel.run_until_cancelled(self.build(&model, &checkpoint)).await;
                }
            }
        }
    }

    fn should_build(&mut self, model: &ModelInfo, checkpoint: &Checkpoint) -> bool {
        let silence = self.monitor.silence(checkpoint);
        is_outdated(model, checkpoint, self.log.incarnation())
            && silence.is_none_or(|silence| silence >= BUILD_LEASE)
            && self.retry_at.get(model.name).is_none_or(|at| *at <= Instant::now())
    }

    async fn build(&mut self, model: &ModelInfo, checkpoint: &Checkpoint) {
        let (name, from, to) = (model.name, checkpoint.fold_version, (model.fold_version)());
        if let Err(error) = self.log.keyring().preload().await {
            tracing::warn!(error = chain(&error), "could not preload the keys; reading each when needed");
        }
        tracing::info!(model = name, from, to, "building the read model in a newer fold version");
        let history = LogHistory(Arc::clone(&self.log) as Arc<dyn EventLog>);
        let started = Instant::now();
        let built = visit_selected(Some(name), &mut Build { store: &self.store, history: &history, checkpoint });
        for built in built {
            let built = AssertUnwindSafe(built).catch_unwind().await;
            match built.unwrap_or_else(|_| Err(StoreError::Rejected("the build panicked".into()).into())) {
                Ok(Some(Rebuilt { collection, documents, position, quarantined, .. })) => {
                    let seconds = started.elapsed().as_secs_f64();
                    tracing::info!(
                        model = name, to, %collection, documents, position, quarantined, seconds,
                        "switched to the newer fold version"
                    );
                }
                Ok(None) => tracing::info!(model = name, "another replica builds the read model"),
                Err(ProjectionError::Overtaken { .. }) => {
                    tracing::info!(model = name, "another rebuild has taken over the read model");
                }
                Err(error) => {
                    self.retry_at.insert(name, Instant::now() + RETRY_DELAY);
                    tracing::warn!(model = name, error = chain(&error), "could not build the read model; retrying");
                }
            }
        }
    }
}

/// Starts the build of a model.
struct Build<'a> {
    store: &'a MongoStore,
    history: &'a LogHistory,
    checkpoint: &'a Checkpoint,
}

impl<'a> ModelVisitor for Build<'a> {
    type Output = BoxFuture<'a, Result<Option<Rebuilt>, ProjectionError>>;

    fn visit<M: ReadModel>(&mut self) -> Self::Output {
        let Self { store, history, checkpoint } = *self;
        async move {
            let logged = Mutex::new(Instant::now());
            build::<M>(store, history, checkpoint, &|progress| log_progress(progress, &logged)).await
        }
        .boxed()
    }
}

fn log_progress(Progress { model, done, total, .. }: Progress, logged: &Mutex<Instant>) {
    let mut logged = logged.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.elapsed() >= LOG_INTERVAL {
        *logged = Instant::now();
        tracing::info!(model, done, total, "building the read model");
    }
}

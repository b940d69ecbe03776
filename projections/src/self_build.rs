//! A replica with a newer fold version builds the model beside the live documents and switches.
//!
//! Any replica may build; the leader, which may be an older program, continues to project the live documents meanwhile.
//! The reservation in the checkpoint is the lease of the build: its holder reports every second, and another replica takes
//! over when there was no report for [`BUILD_LEASE`] of its own monotonic clock. A builder that continues after that can't
//! switch, because the reservation names another collection.

use std::collections::BTreeMap;
use std::time::Duration;

use dockhost_domain::incarnation::Incarnation;
use tokio::time::Instant;

use crate::log::{History, OnProgress};
use crate::model::ReadModel;
use crate::projector::ProjectionError;
use crate::rebuild::{RebuildJob, Rebuilt, Reservation};
use crate::rebuild_buffer::DOCUMENTS_IN_MEMORY;
use crate::registry::ModelInfo;
use crate::store::{Checkpoint, CollectionName, MongoStore};

/// A build without a report for this long is considered dead.
pub const BUILD_LEASE: Duration = Duration::from_secs(10);

/// Whether this program folds a newer version than that of the documents, so that it should build the model.
#[must_use]
pub fn is_outdated(model: &ModelInfo, checkpoint: &Checkpoint, incarnation: &Incarnation) -> bool {
    checkpoint.incarnation == *incarnation && checkpoint.fold_version < (model.fold_version)()
}

/// Whether the documents have a fold version that this program can project; also true if there are none, or if they are
/// of another log, which no program can project.
#[must_use]
pub fn is_projectable(model: &ModelInfo, checkpoint: Option<&Checkpoint>, incarnation: &Incarnation) -> bool {
    checkpoint.is_none_or(|checkpoint| {
        checkpoint.incarnation != *incarnation || checkpoint.fold_version == (model.fold_version)()
    })
}

/// Tells a build that is alive from a dead one, by its reports.
#[derive(Debug, Default)]
pub struct BuildMonitor(BTreeMap<String, (Report, Instant)>);

/// The reserved collection and the number of reports.
type Report = (CollectionName, Option<u64>);

impl BuildMonitor {
    /// For how long the reserved collection of this checkpoint has had no new report; `None` if none is reserved. Must be
    /// called more often than the caller's limit.
    pub fn silence(&mut self, checkpoint: &Checkpoint) -> Option<Duration> {
        let Some(building) = checkpoint.building.clone() else {
            self.0.remove(&checkpoint.model);
            return None;
        };
        let report = (building, checkpoint.active_build().map(|build| build.reports));
        let now = Instant::now();
        let entry = self.0.entry(checkpoint.model.clone()).or_insert_with(|| (report.clone(), now));
        if entry.0 != report {
            *entry = (report, now);
        }
        Some(entry.1.elapsed())
    }
}

/// Builds the model in this program's fold version and switches to it, unless another process has reserved or reported
/// since `seen`; then returns `None`. The old documents stay.
///
/// # Errors
/// As [`crate::rebuild::rebuild`].
pub async fn build<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    seen: &Checkpoint,
    on_progress: OnProgress<'_>,
) -> Result<Option<Rebuilt>, ProjectionError> {
    let reservation = Reservation::IfUnchanged(seen);
    match RebuildJob::<M>::start_with(store, history, DOCUMENTS_IN_MEMORY, reservation).await? {
        Some(job) => job.rebuild(history, on_progress).await.map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::BuildStatus;
    use crate::users::Users;

    fn reserved(number: u32, reports: u64) -> Checkpoint {
        let collection = CollectionName::numbered("users", number);
        let building = Some(collection.clone());
        let build = Some(BuildStatus { collection, fold_version: 2, reports, done: 0, total: 0 });
        Checkpoint { building, build, ..Checkpoint::first::<Users>(&"one".to_owned().into()) }
    }

    #[tokio::test(start_paused = true)]
    async fn build_monitor_measures_the_time_since_the_last_report() {
        let mut monitor = BuildMonitor::default();
        let mut silence = async |checkpoint: &Checkpoint| {
            tokio::time::advance(Duration::from_secs(3)).await;
            monitor.silence(checkpoint).map(|silence| silence.as_secs())
        };
        assert_eq!(silence(&Checkpoint { building: None, ..reserved(2, 0) }).await, None);
        assert_eq!(silence(&reserved(2, 0)).await, Some(0));
        assert_eq!(silence(&reserved(2, 0)).await, Some(3));
        assert_eq!(silence(&reserved(2, 1)).await, Some(0), "a report");
        assert_eq!(silence(&reserved(3, 1)).await, Some(0), "another reservation");
        let without_reports = Checkpoint { build: None, ..reserved(3, 1) };
        assert_eq!(silence(&without_reports).await, Some(0));
        assert_eq!(silence(&without_reports).await, Some(3));
        assert_eq!(silence(&Checkpoint { building: None, ..reserved(3, 1) }).await, None);
        assert_eq!(silence(&without_reports).await, Some(0));
    }

    #[test]
    fn fold_version_of_the_checkpoint_decides_who_builds_and_who_projects() {
        let (users, log) = (ModelInfo::of::<Users>(), Incarnation::from("one".to_owned()));
        let ours = (users.fold_version)();
        let at = |fold_version| Checkpoint { fold_version, ..Checkpoint::first::<Users>(&log) };
        let states = [ours - 1, ours, ours + 1]
            .map(|version| (is_outdated(&users, &at(version), &log), is_projectable(&users, Some(&at(version)), &log)));
        assert_eq!(states, [(true, false), (false, true), (false, false)]);
        let foreign = Checkpoint { fold_version: ours - 1, ..Checkpoint::first::<Users>(&"two".to_owned().into()) };
        assert!(!is_outdated(&users, &foreign, &log) && is_projectable(&users, Some(&foreign), &log));
        assert!(is_projectable(&users, None, &log));
    }
}

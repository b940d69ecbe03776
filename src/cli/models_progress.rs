//! How far the read models are that are looked at side by side, shown as one.
//!
//! In: each model's progress, from whichever task works on it. Out: one bar at a time: the log as long as any model folds
//! it, then the documents of all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use dockhost_projections::history::{Progress, Stage};

use super::progress::ProgressReporter;

/// The progress of several models. Clones are the same.
#[derive(Clone, Default)]
pub struct ModelsProgress(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    /// The last that each model said.
    models: BTreeMap<&'static str, Progress>,
    shown: Option<(Stage, ProgressReporter)>,
}

impl ModelsProgress {
    /// Takes in what a model says.
    pub fn see(&self, progress: Progress) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.models.insert(progress.model, progress);
        let (stage, done, total) = combined(watched.models.values());
        if let Some((_, bar)) = watched.shown.take_if(|(shown, _)| *shown != stage) {
            bar.finish();
        }
        let what = match stage {
            Stage::Fold => "log",
            Stage::Compare => "documents",
        };
        let (_, bar) = watched.shown.get_or_insert_with(|| (stage, ProgressReporter::resumed(what, done, total)));
        bar.set_total(total);
        bar.set_position(done);
    }

    /// All is done.
    pub fn finish(&self) {
        if let Some((_, bar)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).shown.take() {
            bar.finish();
        }
    }
}

/// What most wait for, and how far it is. The log is read once for all models; documents are each model's own.
fn combined<'a>(models: impl Iterator<Item = &'a Progress> + Clone) -> (Stage, u64, u64) {
    let folding = models.clone().any(|one| one.stage == Stage::Fold && one.done < one.total);
    let stage = if folding { Stage::Fold } else { Stage::Compare };
    let (done, total) = models.filter(|one| one.stage == stage).fold((0, 0), |(done, total), one| match stage {
        Stage::Fold => (one.done.max(done), one.total.max(total)),
        Stage::Compare => (done + one.done, total + one.total),
    });
    (stage, done, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn fold(model: &'static str, done: u64, total: u64) -> Progress {
        Progress { model, stage: Stage::Fold, done, total }
    }

    const fn compare(model: &'static str, done: u64, total: u64) -> Progress {
        Progress { model, stage: Stage::Compare, done, total }
    }

    #[test]
    fn the_log_counts_once_and_documents_add_up() {
        let of = |models: &[Progress]| combined(models.iter());
        assert_eq!(of(&[fold("a", 10, 100), fold("b", 40, 90)]), (Stage::Fold, 40, 100));
        // One has no events and is done at once; the others still read.
        assert_eq!(of(&[compare("a", 0, 0), fold("b", 40, 90)]), (Stage::Fold, 40, 90));
        assert_eq!(of(&[compare("a", 5, 10), fold("b", 90, 90)]), (Stage::Compare, 5, 10));
        assert_eq!(of(&[compare("a", 5, 10), compare("b", 7, 20)]), (Stage::Compare, 12, 30));
    }
}

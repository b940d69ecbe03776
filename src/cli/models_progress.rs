//! The progress of several read models as one progress bar: first of the log, which is read once for all of them, then
//! of the documents of all of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dockhost_projections::{Progress, Stage};

use super::progress::ProgressReporter;

/// The progress of several models.
#[derive(Default)]
pub struct ModelsProgress(Mutex<Shown>);

#[derive(Default)]
struct Shown {
    /// The last progress of each model.
    models: BTreeMap<&'static str, Progress>,
    reporter: ProgressReporter,
}

impl ModelsProgress {
    /// Records the progress of one model.
    pub fn update(&self, progress: Progress) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.models.insert(progress.model, progress);
        let (stage, done, total) = combined(shown.models.values());
        let what = match stage {
            Stage::Fold => "log",
            Stage::Compare => "documents",
        };
        shown.reporter.report(what, done, total);
    }

    /// Ends the bar.
    pub fn finish(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reporter.finish();
    }
}

/// The stage that is not complete, and its progress. The log counts once for all models; documents add up.
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
    fn combined_progress_counts_the_log_once_and_adds_documents_up() {
        let of = |models: &[Progress]| combined(models.iter());
        assert_eq!(of(&[fold("a", 10, 100), fold("b", 40, 90)]), (Stage::Fold, 40, 100));
        // A model without events is complete at once; the others still fold.
        assert_eq!(of(&[compare("a", 0, 0), fold("b", 40, 90)]), (Stage::Fold, 40, 90));
        assert_eq!(of(&[compare("a", 5, 10), fold("b", 90, 90)]), (Stage::Compare, 5, 10));
        assert_eq!(of(&[compare("a", 5, 10), compare("b", 7, 20)]), (Stage::Compare, 12, 30));
    }
}

//! The checks, in the order in which they run. Each has instances of its own, so that one that fails spoils no other.

mod connecting;
mod fences;
mod life;
mod restarts;

use futures::future::LocalBoxFuture;

use crate::common::error::{Cause, chain};

use super::trial::Trial;

/// Why a check did not pass.
#[derive(Debug)]
pub enum Problem {
    /// The backend did not do what it must.
    Failed(String),
    /// It can't be checked this way.
    Skipped(String),
}

impl Problem {
    /// A check that can't be made.
    pub fn skipped(reason: &str) -> Self {
        Self::Skipped(reason.to_owned())
    }
}

impl From<Cause> for Problem {
    /// The check itself failed.
    fn from(cause: Cause) -> Self {
        Self::Failed(format!("the check could not be made: {}", chain(&*cause)))
    }
}

/// What a check does.
type Run = for<'a> fn(&'a mut Trial) -> LocalBoxFuture<'a, Result<(), Problem>>;

/// One check.
pub struct Check {
    /// By which it can be chosen.
    pub name: &'static str,
    /// What the backend must do.
    pub rule: &'static str,
    pub(super) run: Run,
}

impl Check {
    /// Whether nothing else can be checked without it.
    pub(super) fn is_always_run(&self) -> bool {
        self.name == connecting::CONNECTS.name
    }
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [connecting::CHECKS, life::CHECKS, fences::CHECKS, restarts::CHECKS, connecting::LAST].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn checks_have_different_names_and_rules() {
        let (names, rules): (BTreeSet<_>, BTreeSet<_>) = all().map(|check| (check.name, check.rule)).unzip();
        assert_eq!((names.len(), rules.len()), (all().count(), all().count()));
        assert!(all().next().is_some_and(Check::is_always_run), "the others need it");
    }
}

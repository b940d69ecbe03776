//! A power cut: SIGKILL, and what was not synced is lost.

use std::time::Duration;

use futures::future::LocalBoxFuture;

use super::everything::{kill_all, restart_all};
use super::process::{self, Which};
use super::{Context, Effect, Fault};
use crate::report::{Evidence, Part};
use crate::system::System;

/// The traffic between a rolling restart and the power cut.
const TRAFFIC: Duration = Duration::from_secs(4);

/// Which hosts lose power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    One,
    All,
    /// All, some seconds after a rolling restart of the broker.
    AllAfterRoll,
}

#[derive(Debug)]
pub struct Power {
    cut: Cut,
    target: usize,
}

impl Power {
    #[must_use]
    pub const fn of(cut: Cut) -> Self {
        Self { cut, target: 0 }
    }
}

fn lose_unsynced(system: &System, part: Part, n: usize) -> Evidence {
    let lost = super::disk(system, part, n).unwrap().lose_unsynced();
    Evidence { what: format!("{part:?} {n} lost what was not synced: {lost:?}"), confirmed: lost.is_ok() }
}

impl Fault for Power {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            if self.cut == Cut::One {
                self.target = process::select(context.system, Part::Nats, Which::Any, context.random).await[0];
                let killed = process::kill(context.system, Part::Nats, self.target).await;
                let lost = lose_unsynced(context.system, Part::Nats, self.target);
                let targets = vec![(Part::Nats, self.target)];
                return Effect { targets, evidence: vec![killed, lost], what: String::new() };
            }
            if self.cut == Cut::AllAfterRoll {
                process::roll(context.system, Part::Nats).await;
                tokio::time::sleep(TRAFFIC).await;
            }
            let mut effect = kill_all(context.system).await;
            for part in [Part::Nats, Part::Mongod] {
                for n in 0..process::count(context.system, part) {
                    effect.evidence.push(lose_unsynced(context.system, part, n));
                }
            }
            effect
        })
    }

    fn end<'a>(&'a mut self, system: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            match self.cut {
                Cut::One => process::restart(system, Part::Nats, self.target).await,
                Cut::All | Cut::AllAfterRoll => restart_all(system).await,
            }
            Vec::new()
        })
    }
}

//! `kill -9` of everything, then a restart.

use futures::future::LocalBoxFuture;

use super::process;
use super::{Context, Effect, Fault};
use crate::report::{Evidence, Part};
use crate::system::System;

/// `kill -9` of every process at once.
#[derive(Debug, Default)]
pub struct KillAll;

impl Fault for KillAll {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(kill_all(context.system))
    }

    fn end<'a>(&'a mut self, system: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            restart_all(system).await;
            Vec::new()
        })
    }
}

const PARTS: [Part; 4] = [Part::Mongod, Part::Nats, Part::Replica, Part::Agent];

pub async fn kill_all(system: &mut System) -> Effect {
    let mut effect = Effect::default();
    for part in PARTS {
        for n in 0..process::count(system, part) {
            effect.evidence.push(process::kill(system, part, n).await);
            effect.targets.push((part, n));
        }
    }
    effect
}

/// Kills and starts everything.
pub async fn restart_all_killed(system: &mut System) {
    for part in [Part::Agent, Part::Replica] {
        for n in 0..process::count(system, part) {
            if process::pid(system, part, n).is_some() {
                process::kill(system, part, n).await;
            }
        }
    }
    restart_all(system).await;
}

/// Starts everything at once.
pub async fn restart_all(system: &mut System) {
    system.world.restart_all().await;
}

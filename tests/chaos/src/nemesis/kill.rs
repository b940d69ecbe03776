//! `kill -9`, then a restart.

use std::time::{Duration, Instant};

use dockhost_harness::http::Client;
use futures::future::LocalBoxFuture;

use super::process::{self, Which};
use super::{Context, Effect, Fault};
use crate::history::Recorder;
use crate::report::{Evidence, Kind, Part};
use crate::request::{Caller, Request, send_recorded};
use crate::system::System;

/// A client must see the fault within this time.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Kill {
    kind: Kind,
    part: Part,
    which: Which,
    targets: Vec<usize>,
}

impl Kill {
    #[must_use]
    pub const fn of(kind: Kind, part: Part, which: Which) -> Self {
        Self { kind, part, which, targets: Vec::new() }
    }
}

impl Fault for Kill {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            self.targets = process::select(context.system, self.part, self.which, context.random).await;
            let mut effect = Effect::default();
            for n in &self.targets {
                effect.evidence.push(process::kill(context.system, self.part, *n).await);
                effect.targets.push((self.part, *n));
            }
            if self.kind.must_be_visible(context.topology) {
                wait_until_visible(context.system, context.recorder, self.part, self.targets[0]).await;
            }
            effect
        })
    }

    fn end<'a>(&'a mut self, system: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            for n in &self.targets {
                process::restart(system, self.part, *n).await;
            }
            Vec::new()
        })
    }
}

/// Sends requests until an outcome shows the fault; the checker finds it in the history.
async fn wait_until_visible(system: &System, recorder: &Recorder, part: Part, target: usize) {
    let replica = if part == Part::Replica { target } else { 0 };
    let client = Client::new(&system.world.replicas[replica].url);
    let dependency = if part == Part::Nats { "broker" } else { "database" };
    let deadline = Instant::now() + VISIBILITY_TIMEOUT;
    while Instant::now() < deadline {
        let caller = Caller { client: "nemesis", replica, user: None };
        let (_, answer) = send_recorded(&client, caller, recorder, &Request::health()).await;
        let is_visible = match answer {
            None => part == Part::Replica,
            Some(answer) => answer.body["down"].as_array().into_iter().flatten().any(|down| down == dependency),
        };
        if is_visible {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

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

/// The order in which the parts need each other.
const START_ORDER: [Part; 4] = [Part::Mongod, Part::Nats, Part::Replica, Part::Agent];

pub async fn kill_all(system: &mut System) -> Effect {
    let mut effect = Effect::default();
    for part in START_ORDER {
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

pub async fn restart_all(system: &mut System) {
    for part in START_ORDER {
        for n in 0..process::count(system, part) {
            process::restart(system, part, n).await;
        }
    }
}

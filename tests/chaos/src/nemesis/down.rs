//! Processes of one part are down for a while: killed with `kill -9`, or hung by SIGSTOP.

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

/// How processes go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Killed,
    Paused,
}

#[derive(Debug)]
pub struct Down {
    how: How,
    kind: Kind,
    part: Part,
    which: Which,
    targets: Vec<usize>,
}

impl Down {
    /// SIGKILL, then a restart.
    #[must_use]
    pub const fn killed(kind: Kind, part: Part, which: Which) -> Self {
        Self { how: How::Killed, kind, part, which, targets: Vec::new() }
    }

    /// SIGSTOP, then SIGCONT.
    #[must_use]
    pub const fn paused(kind: Kind, part: Part, which: Which) -> Self {
        Self { how: How::Paused, kind, part, which, targets: Vec::new() }
    }
}

impl Fault for Down {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            self.targets = process::select(context.system, self.part, self.which, context.random).await;
            let mut effect = Effect::default();
            for n in &self.targets {
                effect.evidence.push(match self.how {
                    How::Killed => process::kill(context.system, self.part, *n).await,
                    How::Paused => process::pause(context.system, self.part, *n).await,
                });
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
                match self.how {
                    How::Killed => process::restart(system, self.part, *n).await,
                    How::Paused => process::resume(system, self.part, *n).await,
                }
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

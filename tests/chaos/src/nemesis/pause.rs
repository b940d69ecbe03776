//! SIGSTOP, then SIGCONT: a process that hangs.

use futures::future::LocalBoxFuture;

use super::process::{self, Which};
use super::{Context, Effect, Fault};
use crate::report::{Evidence, Part};
use crate::system::System;

#[derive(Debug)]
pub struct Pause {
    part: Part,
    which: Which,
    targets: Vec<usize>,
}

impl Pause {
    #[must_use]
    pub const fn of(part: Part, which: Which) -> Self {
        Self { part, which, targets: Vec::new() }
    }
}

impl Fault for Pause {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            self.targets = process::select(context.system, self.part, self.which, context.random).await;
            let mut effect = Effect::default();
            for n in &self.targets {
                effect.evidence.push(process::pause(context.system, self.part, *n).await);
                effect.targets.push((self.part, *n));
            }
            effect
        })
    }

    fn end<'a>(&'a mut self, system: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            for n in &self.targets {
                process::resume(system, self.part, *n).await;
            }
            Vec::new()
        })
    }
}

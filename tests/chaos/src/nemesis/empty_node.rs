//! A node of the broker is replaced by an empty one.

use futures::future::LocalBoxFuture;

use super::process::{self, Which};
use super::{Context, Effect, Fault};
use crate::report::{Evidence, Part};
use crate::system::System;

#[derive(Debug, Default)]
pub struct EmptyNode {
    target: usize,
}

impl Fault for EmptyNode {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            self.target = process::select(context.system, Part::Nats, Which::Any, context.random).await[0];
            let killed = process::kill(context.system, Part::Nats, self.target).await;
            context.system.world.nats.store(self.target).wipe();
            Effect { targets: vec![(Part::Nats, self.target)], evidence: vec![killed], what: String::new() }
        })
    }

    fn end<'a>(&'a mut self, system: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            process::restart(system, Part::Nats, self.target).await;
            Vec::new()
        })
    }
}

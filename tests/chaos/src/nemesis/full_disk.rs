//! The disk of one server is full, then has space again, and the server is restarted if it needs that.

use futures::future::LocalBoxFuture;

use super::process::{self, Which};
use super::{Context, Effect, Fault};
use crate::report::{Evidence, Part};
use crate::system::System;

#[derive(Debug)]
pub struct FullDisk {
    part: Part,
    target: usize,
}

impl FullDisk {
    #[must_use]
    pub const fn of(part: Part) -> Self {
        Self { part, target: 0 }
    }
}

impl Fault for FullDisk {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            self.target = process::select(context.system, self.part, Which::Any, context.random).await[0];
            // It panics unless the disk is full.
            super::disk(context.system, self.part, self.target).unwrap().fill();
            let evidence = vec![Evidence { what: "the disk takes nothing".to_owned(), confirmed: true }];
            Effect { targets: vec![(self.part, self.target)], evidence, what: String::new() }
        })
    }

    fn end<'a>(&'a mut self, system: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            super::disk(system, self.part, self.target).unwrap().free();
            // mongod aborts on a full disk, and its service manager starts it again. nats-server does not store again by
            // itself; docs/OPERATIONS.md says that it has to be restarted.
            if self.part == Part::Nats || !process::is_running(system, self.part, self.target) {
                process::restart(system, self.part, self.target).await;
            }
            Vec::new()
        })
    }
}

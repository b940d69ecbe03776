//! A slow network: all that a process sends and receives arrives later.

use std::time::Duration;

use dockhost_harness::hosts::{Delay, slow_down};
use futures::future::LocalBoxFuture;
use rand::Rng;

use super::process::{self, Which};
use super::{Context, Effect, Fault};
use crate::report::{Evidence, Part};
use crate::system::System;

/// The longest delay of one direction, in milliseconds.
const MAX_DELAY: u64 = 200;

#[derive(Debug)]
pub struct Slow {
    part: Part,
    which: Which,
    delay: Option<Delay>,
}

impl Slow {
    #[must_use]
    pub const fn of(part: Part, which: Which) -> Self {
        Self { part, which, delay: None }
    }
}

impl Fault for Slow {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            let target = process::select(context.system, self.part, self.which, context.random).await[0];
            // Sometimes one direction is much slower than the other.
            let [sent, received] = [(); 2].map(|()| context.random.random_range(1..=MAX_DELAY));
            let host = process::host(context.system, self.part, target);
            let what = format!("{}: {sent} ms later what it sends, {received} ms what it receives", host.name);
            self.delay = slow_down(host, Duration::from_millis(sent), Duration::from_millis(received)).await;
            Effect { targets: vec![(self.part, target)], evidence: Vec::new(), what }
        })
    }

    fn end<'a>(&'a mut self, _: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            let Some(delay) = self.delay.take() else { return Vec::new() };
            let delayed = delay.delayed();
            delay.end().await.unwrap();
            vec![Evidence { what: format!("{delayed} frames were delayed"), confirmed: delayed > 0 }]
        })
    }
}

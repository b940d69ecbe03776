//! The wall clock of one host jumps, and back.

use futures::future::LocalBoxFuture;
use rand::seq::IndexedRandom;

use super::process::{self, Which};
use super::{Context, Effect, Fault};
use crate::report::{Evidence, Part};
use crate::system::System;

/// Seconds ahead: within and beyond the tolerances, and beyond the life of a session.
const OFFSETS: [i64; 7] = [-300, -31, -5, 5, 31, 300, 90_000];

#[derive(Debug)]
pub struct SkewedClock {
    part: Part,
    target: usize,
}

impl SkewedClock {
    #[must_use]
    pub const fn of(part: Part) -> Self {
        Self { part, target: 0 }
    }
}

impl Fault for SkewedClock {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            self.target = process::select(context.system, self.part, Which::Any, context.random).await[0];
            let offset = *OFFSETS.choose(context.random).unwrap();
            let clock = process::host(context.system, self.part, self.target).clock();
            clock.unwrap().set_offset(offset);
            let evidence = vec![Evidence { what: format!("the offset is {offset} s"), confirmed: clock.is_some() }];
            Effect { targets: vec![(self.part, self.target)], evidence, what: format!("{offset:+} s") }
        })
    }

    fn end<'a>(&'a mut self, system: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            process::host(system, self.part, self.target).clock().unwrap().set_offset(0);
            Vec::new()
        })
    }
}

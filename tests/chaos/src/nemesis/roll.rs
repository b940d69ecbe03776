//! A rolling restart: each process of a part stops as a deployment stops it, and starts again.

use futures::future::LocalBoxFuture;

use super::{Context, Effect, Fault, process};
use crate::report::{Evidence, Part};
use crate::system::System;

#[derive(Debug)]
pub struct Roll(pub Part);

impl Fault for Roll {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            let evidence = process::roll(context.system, self.0).await;
            let targets = (0..process::count(context.system, self.0)).map(|n| (self.0, n)).collect();
            Effect { targets, evidence, what: String::new() }
        })
    }

    fn end<'a>(&'a mut self, _: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async { Vec::new() })
    }
}

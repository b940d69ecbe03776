//! The rows of the table, one file each.

mod appends;
mod cold;
mod create;
mod events;
mod fleet;
mod lists;
mod noops;
mod projector;
mod reads;
mod replicas;
mod signin;
mod stops;

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use crate::Effort;
use crate::report::Figure;

/// A row, which may yield several figures.
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub run: fn(Effort) -> LocalBoxFuture<'static, Vec<Figure>>,
}

pub const ROWS: &[Row] = &[
    Row { name: "reads", what: "listing one's own instances", run: |effort| reads::run(effort).boxed_local() },
    Row { name: "lists", what: "pages of the list of all instances", run: |effort| lists::run(effort).boxed_local() },
    Row { name: "stops", what: "a command that waits only for the append", run: |e| stops::run(e).boxed_local() },
    Row { name: "noops", what: "a command that finds nothing to do", run: |e| noops::run(e).boxed_local() },
    Row { name: "create", what: "from the request to a running instance", run: |e| create::run(e).boxed_local() },
    Row { name: "projector", what: "read models from large logs", run: |e| projector::run(e).boxed_local() },
    Row { name: "cold", what: "the first command after many events", run: |e| cold::run(e).boxed_local() },
    Row { name: "fleet", what: "an idle fleet", run: |e| fleet::run(e).boxed_local() },
    Row { name: "replicas", what: "three replicas compared with one", run: |e| replicas::run(e).boxed_local() },
    Row { name: "events", what: "many clients that watch events", run: |e| events::run(e).boxed_local() },
    Row { name: "signin", what: "signing in", run: |e| signin::run(e).boxed_local() },
];

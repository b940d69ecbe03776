//! `dockhost export` and `dockhost import`.

mod damage;
mod drill;
mod exporting;
mod importing;

use std::path::Path;

use async_nats::jetstream::{self, Context};
use dockhost::backup::export::{ExportOptions, export};
use dockhost::backup::manifest::Manifest;
use dockhost::event_log::EventLog;
use dockhost::event_log::raw::{RawEvent, RawLog};
use dockhost_domain::subject::BARRIER;
use futures::StreamExt;

use crate::event_log::world::{Live, at, sign_in, sign_up, user};

fn js(live: &Live) -> Context {
    jetstream::new(live.client.clone())
}

/// A log of this many messages: an account with sealed values, an unreadable event, a barrier, and sign-ins.
pub async fn log_of(events: u64) -> Live {
    let live = Live::start().await;
    live.log.append_batch(vec![at(0, &sign_up(user())), at(0, &sign_in(user()))]).await.unwrap();
    live.put_raw("dockhost.event.session.unreadable", "\u{7f}nonsense").await;
    live.put_raw(BARRIER, "").await;
    append(&live, events - 4).await;
    live
}

/// Appends this many events.
async fn append(live: &Live, events: u64) {
    let sign_ins = (0..events).map(|_| async { live.log.append(at(0, &sign_in(user()))).await.unwrap() });
    futures::stream::iter(sign_ins).buffer_unordered(64).for_each(async |_| {}).await;
}

fn options(directory: &Path, per_segment: u64) -> ExportOptions {
    ExportOptions { directory: directory.to_owned(), per_segment, with_keys: true }
}

pub async fn export_to(live: &Live, directory: &Path, per_segment: u64) -> (Manifest, u64) {
    export(&js(live), options(directory, per_segment), Box::new(|_, _| {})).await.unwrap()
}

/// All stored messages of a log.
pub async fn stored(js: &Context) -> Vec<RawEvent> {
    let log = RawLog::open(js).await.unwrap().unwrap();
    let mut reader = log.read(0, log.end().await.unwrap());
    let mut events = Vec::new();
    while let Some(raw) = reader.next().await.unwrap() {
        events.push(raw);
    }
    events
}

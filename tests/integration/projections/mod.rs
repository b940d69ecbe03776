//! The read models on a real database.

mod admin_queries;
mod building;
mod events;
mod fence;
mod long_lists;
mod pipelining;
mod profiler;
mod quarantining;
mod queries;
mod rebuilding;
mod spilling;
mod verifying;
mod views;
mod webhook_progress;

use dockhost_domain::incarnation::Incarnation;
use dockhost_projections::{LogEntry, MongoStore, Projector, ReadModel};

use crate::harness::Mongo;

fn log(name: &str) -> Incarnation {
    Incarnation::from(name.to_owned())
}

async fn store() -> MongoStore {
    connect(&Mongo::shared().await).await
}

async fn connect(mongo: &Mongo) -> MongoStore {
    MongoStore::connect(&mongo.uri, &mongo.database).await.unwrap()
}

async fn open<M: ReadModel>(store: &MongoStore) -> Projector<M> {
    Projector::open(store.clone(), &log("one")).await.unwrap()
}

async fn position<M: ReadModel>(store: &MongoStore) -> u64 {
    store.checkpoint::<M>().await.unwrap().unwrap().sequence
}

/// Opens a projector and applies the events as one batch.
async fn project<M: ReadModel>(store: &MongoStore, events: &[LogEntry]) -> Projector<M> {
    let mut projector = open::<M>(store).await;
    projector.apply(events).await.unwrap();
    projector
}

//! The read models of DockHost: documents folded from the log, and the MongoDB store beneath them.
//!
//! What flows in: recorded events, in stream order. What flows out: documents, by typed queries. Everything here can
//! be thrown away and folded again from the log; nothing here is ever the truth. The pure half (what a document is,
//! how an event changes it, how two sets of documents are compared) knows no database; the store half knows no event.
//! This is the only crate that links a MongoDB driver, and the read models show no type of it.
//!
//! # Layout
//! - [`model`]: what a read model is, and folding in memory.
//! - [`users`], [`backends`], [`instances`], [`sessions`]: one folder per model: `document`, `fold`, `query`.
//! - [`store`]: connection, checkpoints, fenced writes, reads, indexes.
//! - [`projector`], [`pipeline`]: events → documents → checkpoint, live. [`quarantine`]: aggregates that stopped;
//!   [`release`]: trying them again.
//! - [`admin`]: making a lone mongod a replica set.
//! - [`comparison`]: what a comparison found.
//! - [`history`], [`verify`], [`rebuild`], [`digest`]: folding the whole log again, to compare or to replace; over
//!   `draft` (the documents that are made) and `compare` (beside the live ones).

pub mod admin;
pub mod backends;
mod compare;
pub mod comparison;
pub mod digest;
pub mod history;
pub mod instances;
pub mod model;
pub mod pipeline;
pub mod projector;
pub mod quarantine;
pub mod rebuild;
mod rebuild_buffer;
pub mod release;
pub mod sessions;
pub mod store;
#[cfg(test)]
mod testing;
pub mod users;
pub mod verify;

pub use history::{History, Progress, Stage};
pub use model::{Document, ReadModel};
pub use projector::{ProjectionError, Projector};
pub use quarantine::{LogEntry, Quarantine, Unreadable};
pub use store::{MongoStore, StoreError};

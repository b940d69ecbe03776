//! The read models of DockHost: documents folded from the log, and the MongoDB store beneath them.
//!
//! Everything here is derived from the log and can be dropped and rebuilt. [`store`] knows documents, checkpoints and
//! collections, but no event; the models are pure and know no database. Only this crate links a MongoDB driver, and its
//! API shows no type of the driver.
//!
//! # Layout
//! - [`users`], [`backends`], [`instances`], [`sessions`]: one folder per model (`document`, `fold`, `query`).
//! - [`model`]: what a read model is, and folding in memory. [`log`]: entries of the log, and the port to read them.
//! - [`registry`]: code that runs for each model; the list of models is below.
//! - [`store`]: connection, checkpoints, fenced writes, reads, indexes.
//! - [`projector`], [`pipeline`]: events → documents → checkpoint, live. [`release`]: retries a quarantined aggregate of a model;
//!   [`quarantined`]: those of all models.
//! - [`rebuild`], [`verify`]: fold the whole log again, to replace the documents or to compare them ([`comparison`],
//!   [`digest`]). Both use `scan`, `rebuild_buffer` and `compare`.
//! - [`self_build`]: builds a model in a newer fold version. [`cleanup`]: drops collections that nothing uses.
//! - [`views`]: what people read by hand, `db.users.find()`.
//! - [`admin`]: initiates a replica set.

pub mod admin;
pub mod backends;
mod build_reporter;
pub mod cleanup;
mod compare;
pub mod comparison;
pub mod digest;
#[cfg(test)]
mod fold_versions;
pub mod instances;
pub mod log;
pub mod model;
pub mod pipeline;
pub mod projector;
pub mod quarantined;
pub mod rebuild;
mod rebuild_buffer;
#[macro_use]
pub mod registry;
pub mod release;
mod scan;
pub mod self_build;
pub mod sessions;
pub mod store;
#[cfg(any(test, feature = "testing"))]
mod testing;
pub mod totals;
pub mod users;
pub mod verify;
pub mod views;

// Every read model; the commands and `GET /health` list them in this order.
register!(users::Users, backends::Backends, instances::Instances, sessions::Sessions);

pub use log::{History, LogEntry, Progress, Stage};
pub use model::ReadModel;
pub use projector::{ProjectionError, Projector};
pub use scan::ModelResult;
pub use store::{Document, MongoStore, Quarantine, StoreError, StoredModel, Unreadable};

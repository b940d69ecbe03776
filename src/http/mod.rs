//! The HTTP API. In: requests. Out: commands executed and queries answered, in one envelope.
//!
//! `router` is the table of contents; one endpoint is one file in `commands` or `queries`.

mod access;
mod after;
pub mod app;
mod commands;
pub mod error;
mod extract;
mod fields;
mod idempotency;
mod outcome;
mod prefer;
mod queries;
mod reply;
mod request_id;
pub mod router;
mod routes;
mod shown;
mod stale;
mod timeout;
mod view;
mod whole_body;

pub use access::Access;
pub use routes::Route;

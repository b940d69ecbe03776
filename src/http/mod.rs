//! The HTTP API.
//!
//! `router` is the table of contents. Each endpoint is one file in `commands` or `queries`.

pub mod app;
mod commands;
mod consistency;
mod extract;
mod middleware;
mod operation_wait;
mod queries;
pub mod response;
pub mod router;
mod routes;
mod view;

pub use extract::caller::Access;
pub use routes::Route;

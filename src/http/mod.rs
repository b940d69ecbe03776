//! The HTTP API, and the web pages over it.
//!
//! `router` is the table of contents. Each endpoint is one file in `commands`, `queries` or `admin`, with its request, its
//! answer, its document and its tests. `events` are answers that go on for as long as their clients want; `pages` are for
//! browsers; `server` accepts the connections.

#[cfg(test)]
mod access_table;
mod admin;
pub mod app;
mod asked_size;
mod asyncapi;
mod broker_findings;
mod commands;
mod consistency;
pub mod dependencies;
pub mod dockhost_v2;
mod docs;
pub mod events;
mod extract;
mod group_of;
pub mod limits;
pub mod metrics;
mod middleware;
pub mod openapi;
mod operation_wait;
mod pages;
pub mod past;
mod processors;
mod queries;
mod read_store;
pub mod refusals;
#[cfg(test)]
mod repeated_requests;
pub mod response;
pub mod router;
pub mod server;
pub mod sockets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod version;
mod views;
pub mod webhooks;

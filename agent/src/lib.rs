//! The reference backend of DockHost: makes a machine with Docker or Podman run people's instances.
//!
//! What flows in: assignments, the full wanted state of each instance of this backend. What flows out: acts on the
//! engine, a report of what was seen after each, and heartbeats. The server is never asked what to do next and the
//! engine never trusted to be as it was left: the agent looks, compares and acts, one step at a time, so a crash, a
//! lost connection or a repeated message is nothing special. One thing is asked, before a container is made: whether
//! what calls for it still stands.
//!
//! # Layout
//! - [`step`]: the decision, pure; [`container`], [`ports`], [`capacity`], [`backoff`]: what it is made from.
//! - [`runtime`]: the port to what runs containers: [`runtime::docker`] and [`runtime::simulated`].
//! - [`reconcile`]: looks, decides, acts and reports, instance by instance.
//! - [`connect`], [`follow`], [`confirm`], [`reports`], [`heartbeat`]: the talk with the server.
//! - [`config`], [`key`], [`clock`], [`app`]: what it is told, who it is, and how the parts are put together.

pub mod app;
pub mod assignments;
pub mod backoff;
pub mod capacity;
pub mod clock;
pub mod config;
pub mod confirm;
pub mod connect;
pub mod container;
pub mod heartbeat;
pub mod key;
pub mod ports;
pub mod reconcile;
pub mod reports;
pub mod runtime;
pub mod step;

//! The reference backend of DockHost: runs users' instances on a machine with Docker or Podman.
//!
//! In: assignments, each the full desired state of one instance. Out: operations on the container engine, reports of the
//! observed state, and heartbeats. For each instance the agent lists the containers, decides one step and executes it,
//! until the observed state is the desired state. It keeps no state that a crash could lose, and repeated messages are
//! harmless. Before it creates a container, it asks the server whether the assignment is still current.
//!
//! # Layout
//! - [`step`]: the decision, a pure function; [`restart`]: whether an ended container is started again; [`container`], [`capacity`], [`ports`]: its data.
//! - [`runtime`]: the interface to container runtimes, [`runtime::docker`] and [`runtime::simulated`].
//! - [`reconcile`]: one worker per instance that lists, decides, executes and reports.
//! - [`connect`], [`assignments`], [`confirm`], [`reports`], [`heartbeat`]: communication with the server; [`hold`]:
//!   whether it accepts this agent; [`reports_stream`]: whether reports were lost.
//! - [`machine_status`], [`engine_probe`]: whether this machine can run containers now, [`machine_size`]: what it has, for the
//!   heartbeats.
//! - [`images`], [`upkeep`]: what belongs to the machine and not to one instance: images, isolation rules, leftovers.
//! - [`removal`]: removes what this backend has left in the engine.
//! - [`app`], [`config`], [`key`], [`key_store`], [`telemetry`], [`clock`], [`backoff`], `replace_file`: start-up, configuration and utilities.

pub mod app;
pub mod assignments;
pub mod backoff;
pub mod capacity;
pub mod clock;
pub mod config;
pub mod confirm;
pub mod connect;
pub mod container;
pub mod engine_probe;
pub mod heartbeat;
pub mod hold;
pub mod images;
pub mod key;
pub mod key_store;
pub mod machine_size;
pub mod machine_status;
pub mod nodes;
pub mod ports;
pub mod reconcile;
pub mod removal;
mod replace_file;
pub mod reports;
pub mod reports_stream;
pub mod restart;
pub mod runtime;
pub mod ssh_watch;
pub mod step;
pub mod telemetry;
pub mod upkeep;

//! The pure vocabulary and rules of DockHost.
//!
//! What flows in: commands with every outside fact (time, candidates, fresh ids) as an argument, and recorded events.
//! What flows out: new events or a typed rejection, and states folded from events. Nothing here does I/O, reads a
//! clock or draws randomness, so every rule is tested by calling it.
//!
//! # Layout
//! - [`ids`], [`names`], [`timestamp`], [`personal`]: the small types that carry meaning.
//! - [`incarnation`]: which log a position is of.
//! - [`subject`]: every subject of the broker, built and parsed in one place.
//! - [`event`], [`envelope`]: what is recorded, and how it is wrapped (CloudEvents).
//! - [`wire`]: what the server and the agents say to each other.
//! - [`account`], [`claim`], [`session`], [`backend`], [`tenancy`]: the aggregates, each with `decide` and `evolve`.
//! - [`placement`]: which machine gets an instance, and why.

pub mod account;
pub mod aggregate;
pub mod backend;
pub mod claim;
pub mod envelope;
pub mod event;
pub mod ids;
pub mod incarnation;
pub mod names;
pub mod personal;
pub mod placement;
pub mod session;
pub mod subject;
pub mod tenancy;
#[cfg(test)]
pub mod testing;
pub mod timestamp;
pub mod wire;

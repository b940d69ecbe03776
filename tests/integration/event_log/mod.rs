//! The event log: one contract for both adapters, and tests that need a real broker.

mod barriers;
mod cluster;
mod contract;
mod durable_reader;
mod expectations;
mod faults;
mod settings;
mod wire;
pub mod world;

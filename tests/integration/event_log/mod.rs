//! The log: one contract for both adapters, and what only a real broker can show.

mod cluster;
mod contract;
mod expectations;
mod faults;
mod roles;
mod settings;
mod wire;
pub mod world;

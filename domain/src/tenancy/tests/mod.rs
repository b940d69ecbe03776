//! The tenancy's rules, proven: one file per decision, then what every interleaving of them keeps.

mod agents;
mod build;
mod change;
mod close;
mod deadline;
mod forget;
mod interleavings;
mod lost;
mod operation;
mod report;
mod request;
mod wanted;
mod world;

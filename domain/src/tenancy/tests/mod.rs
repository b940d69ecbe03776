//! The tenancy's rules, proven: one file per decision, then what every interleaving of them keeps.

mod agents;
mod assignments;
mod backend_lost;
mod build;
mod change;
mod close;
mod deadline;
mod interleavings;
mod operation;
mod report;
mod request;
mod retention;
mod world;

//! Tests of the tenancy: one file per command, and properties of random interleavings.

mod agents;
mod assignments;
mod backend_lost;
mod change;
mod close;
mod deadline;
mod fixtures;
mod interleavings;
mod operation;
mod report;
mod request;
mod retention;
mod simulation;

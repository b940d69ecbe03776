//! Tests of the tenancy: the larger commands, and properties of random interleavings. A small command has its tests in
//! its own file, with the [`fixtures`].

mod administer;
mod agents;
mod assignments;
mod autostop;
mod backend_lost;
mod backend_removed;
mod change;
mod close;
mod deadline;
mod drain;
pub(super) mod fixtures;
mod group_ended;
mod interleavings;
mod keys;
mod lifetime;
mod operation;
mod quota;
mod relocate;
mod report;
mod request;
mod retention;
mod settings;
mod simulation;
mod suspend;

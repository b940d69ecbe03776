//! The tenancy's rules, proven: one file per decision, then what every interleaving of them keeps.

mod build;
mod change;
mod deadline;
mod forget;
mod lost;
mod operation;
mod report;
mod request;
mod wanted;

//! The read models of DockHost, and the MongoDB store beneath them.

pub mod admin;

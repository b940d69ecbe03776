//! The read model `backends`: one document per machine. In: backend events. Out: what the machine is, whether it is
//! there, and where its containers are reached; never a verifier. Its load isn't in the log, so it isn't here.

mod document;
mod fold;
mod query;

pub use document::{BackendDocument, Backends};

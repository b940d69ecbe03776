//! The read model `backends`: one document per backend, without its password verifier. A backend's load is not in the log,
//! so it is not in the document.

mod document;
mod fold;
mod query;
mod view;

pub use document::{BackendDocument, Backends};

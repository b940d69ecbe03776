//! The read model `users`: one document per person. In: account events. Out: who somebody is; never a verifier.

mod document;
mod fold;

pub use document::{UserDocument, Users};

//! The read model `users`: one document per account, without its password verifier.

mod document;
mod fold;

pub use document::{UserDocument, Users};

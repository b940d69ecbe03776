//! The read model `users`: one document per account, without its password verifier.

mod document;
mod fold;
mod query;
mod view;

pub use document::{UserDocument, UserState, Users};
pub use query::UserFilter;

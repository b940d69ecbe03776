//! The read model `users`: one document per person. In: account events. Out: who somebody is; never a verifier.

mod document;
mod fold;
mod query;

pub use document::UserDocument;
pub use fold::Users;

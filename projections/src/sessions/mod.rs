//! The read model `sessions`: one document per session, for its user and for operators. Requests are authenticated from the log and the
//! follower, never from this model.

mod document;
mod fold;
mod query;
mod view;

pub use document::{SessionDocument, Sessions};
pub use query::SessionFilter;
pub(crate) use query::live_at;

//! Answers in the documented envelope.

pub mod error;
pub mod reply;

pub use error::{ApiError, Code};
pub use reply::Reply;

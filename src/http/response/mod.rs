//! Answers in the documented envelope.

mod code;
pub mod details;
pub mod documented;
pub mod error;
mod reply;

pub use code::Code;
pub use details::Details;
pub use error::ApiError;
pub use reply::{Null, Reply, Success};

//! Extractors: typed parts of a request, each with its error in the documented envelope.

pub mod caller;
pub mod fields;
pub mod idempotency_key;
pub mod prefer;
pub mod url;

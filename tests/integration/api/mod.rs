//! The HTTP API, as clients use it.

mod concurrency;
mod schemathesis;
mod user_journey;

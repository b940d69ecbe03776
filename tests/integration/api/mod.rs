//! The HTTP API, as clients use it.

mod access;
mod concurrency;
mod invalid_requests;
mod schemathesis;
mod user_journey;

//! The HTTP API, as clients use it.

mod concurrency;
mod user_journey;

//! The HTTP API, as clients use it.

mod access;
mod concurrency;
mod connections;
mod dockhost_v2;
mod history;
mod invalid_requests;
mod rate_limits;
mod schemathesis;
mod tls;
mod user_journey;

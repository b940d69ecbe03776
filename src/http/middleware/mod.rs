//! Layers around all routes.

pub mod asked_for;
pub mod body_limit;
pub mod cookie_site;
pub mod cors;
pub mod measure;
pub mod panic;
pub mod rate_limit;
pub mod request_id;
pub mod timeout;

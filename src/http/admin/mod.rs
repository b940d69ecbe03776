//! What administrators do. Each endpoint is one file; its first argument is the administrator who calls.
//!
//! `list` has what lists share, `user_view` and `backend_view` what is shown of users and backends.

pub mod backend;
mod backend_view;
pub mod backends;
pub mod change_role;
pub mod instances;
mod list;
pub mod user;
mod user_view;
pub mod users;

//! What administrators do. Each endpoint is one file; its first argument is the administrator who calls.
//!
//! `list` has what lists share, `user_view` and `backend_view` what is shown of users and backends, `change_backend` what the
//! commands on one backend share.

pub mod approve_backend;
pub mod backend;
mod backend_view;
pub mod backends;
mod change_backend;
pub mod change_role;
pub mod cordon_backend;
pub mod instances;
pub mod issue_backend_key;
mod list;
pub mod remove_backend;
pub mod revoke_backend_key;
pub mod set_backend_capacity;
pub mod uncordon_backend;
pub mod user;
mod user_view;
pub mod users;

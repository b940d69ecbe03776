//! Changes of accounts and backends that span aggregates, each one atomic batch, for the API and for the command line.
//!
//! - [`create`]: creates the account of an administrator.
//! - [`disable`]: disables and enables an account.
//! - [`erase`]: begins the erasure of a user.
//! - [`remove_backend`]: removes a backend, and releases its name.
//! - [`role`]: gives an account a role, and changes the set of administrators with it.

pub mod create;
pub mod disable;
pub mod erase;
pub mod remove_backend;
pub mod role;

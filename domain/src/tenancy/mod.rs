//! The tenancy: all instances of one user, in one aggregate, because quota, unique names and idempotency keys span
//! them, and so each command is one ordinary append.

pub mod event;

pub use event::TenancyEvent;

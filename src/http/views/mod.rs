//! The API's representations of users, backends, instances and operations: one for answers to commands and to queries.

mod backend;
mod instance;
mod operation;
mod user;

pub use backend::{Backend, BackendStatus};
pub use instance::{Instance, backend_reasons};
pub use operation::Operation;
pub use user::User;

//! The API's representations of users, backends, instances and operations: one for answers to commands and to queries.

mod backend;
mod instance;
mod machine;
mod operation;
mod user;

pub use backend::{Backend, BackendStatus};
pub use instance::{Instance, backend_reasons};
pub use machine::Machine;
pub use operation::Operation;
pub use user::User;

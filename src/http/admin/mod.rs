//! What administrators do. Each endpoint is one file; its first argument is the administrator who calls.

pub mod change_role;

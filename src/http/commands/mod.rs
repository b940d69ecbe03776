//! Commands: one endpoint, one file. Each reads its body, gathers the facts, has the command executed, and answers.

pub mod backend_signin;
pub mod backend_signup;
pub mod change_instance;
pub mod create_instance;
mod sessions;
pub mod signin;
pub mod signout;
pub mod signup;

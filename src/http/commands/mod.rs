//! Commands. Each handler validates its request, gathers facts, executes the command, and answers.

pub mod add_ssh_key;
pub mod backend_signin;
pub mod backend_signup;
pub mod change;
pub mod change_instance;
pub mod change_password;
pub mod create_instance;
pub mod create_token;
pub mod delete_account;
pub mod delete_instance;
pub mod end_session;
pub mod end_sessions;
mod login_keys;
mod named_instance;
mod own_instance;
pub mod own_password;
pub mod remove_ssh_key;
pub mod reset_password;
pub mod resume_instance;
pub mod revoke_token;
mod sessions;
pub mod set_instance_keys;
pub mod signin;
pub mod signout;
pub mod signup;
pub mod stop_instance;
pub mod update_profile;

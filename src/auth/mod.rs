//! Authentication: passwords, session tokens, API keys, and backends at the broker.
//!
//! A valid token is not enough: whether its session, or the version of its key, is still valid is in the log.
//!
//! - [`password`] (with `argon`): password hashing. [`password_rules`]: which new passwords are refused. [`shares`]: how
//!   much of the hashing one client may have. [`token`]: session tokens. [`api_key`]: the keys of backends.
//! - [`admission`]: who may sign up, and who may register a backend. [`one_time_token`]: the tokens with which
//!   one is registered, and with which people sign up.
//! - [`backend_authenticator`]: authentication of backends, from the log. [`ssh_key`]: validation of public keys.

pub mod admission;
pub mod api_key;
mod argon;
pub mod backend_authenticator;
pub mod one_time_token;
pub mod password;
pub mod password_rules;
pub mod reset_token;
pub mod shares;
pub mod ssh_key;
pub mod token;

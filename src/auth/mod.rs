//! Proving who somebody is: passwords, session tokens and API keys.
//!
//! In: secrets from the configuration, passwords and tokens from requests. Out: verifiers, tokens, and who a token
//! speaks for. Whether a token's session still counts is not known here; that is in the log.

pub mod api_key;
mod argon;
pub mod backend_authenticator;
pub mod password;
pub mod ssh_key;
pub mod token;

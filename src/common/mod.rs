//! What every layer may use.
//!
//! - [`areas`]: the areas of the log. [`clock`]: the time and fresh ids. [`error`]: boxed errors and their chains. [`retry`]: start-up retries.
//! - [`port_owner`]: which process occupies a port. [`log_throttle`]: limits repeated log lines. [`quota`]: the arithmetic of
//!   rate limits.
//! - [`shared_poll`]: one poll for all who wait for the same thing. [`shutdown`]: the stages of a replica's shutdown.
//! - [`slots`]: how many of something may be open, in all and for each owner.

pub mod areas;
pub mod clock;
pub mod error;
pub mod log_throttle;
pub mod port_owner;
pub mod quota;
pub mod retry;
pub mod shared_poll;
pub mod shutdown;
pub mod slots;

/// Chooses the crypto library for tokens and TLS; without it the first token panics. May be called repeatedly.
pub fn install_crypto() {
    // An error means that a library is installed already.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

//! What every layer may use: the clock and ids, retries, errors, and the choice of the crypto library.

pub mod clock;
pub mod error;
pub mod port_owner;
pub mod retry;

/// Chooses the one crypto library for tokens and TLS; without it the first token would panic. May be called often.
pub fn install_crypto() {
    // An error says that it is installed.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

//! The DockHost main server.

pub mod assignments;
pub mod auth;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dev;
pub mod event_log;
pub mod execute;
pub mod follower;
pub mod gate;
pub mod http;
pub mod leader;
pub mod positions;
pub mod presence;
pub mod reactions;
pub mod sealing;
pub mod server;
pub mod telemetry;

/// Chooses the one crypto library for tokens and TLS; without it the first token would panic. May be called often.
pub fn install_crypto() {
    // An error says that it is installed.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

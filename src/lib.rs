//! The DockHost main server: the control plane between web frontends and backend machines.
//!
//! In: HTTP commands, reports and heartbeats of agents, timers. Out: events on the log, assignments for the agents, read
//! models for the queries. The log alone is the truth; everything else here can be lost and made anew.
//!
//! # Layout, from the edge inwards
//! - [`cli`], [`config`], [`server`]: the commands, the settings, one replica put together.
//! - [`http`]: the API; `router` is its table of contents.
//! - [`leader`], [`reactions`], [`work`]: what only the elected replica does, and the loop that these roles share.
//! - [`follower`], [`positions`], [`presence`]: what every replica knows: the log, the read models' progress, heartbeats.
//! - [`execute`]: load, decide, append; the one way into the log.
//! - [`event_log`], [`sealing`], [`assignments`], [`broker`], [`gate`]: the broker's streams, keys and door.
//! - [`backup`]: the log in files, and back.
//! - [`auth`], [`clock`], [`telemetry`]: passwords and tokens, time and ids, the service's own log.
//! - [`dev`]: the embedded servers of `dockhost dev` and of the tests.

pub mod assignments;
pub mod auth;
pub mod backup;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dev;
pub mod erasure;
pub mod event_log;
pub mod execute;
pub mod follower;
pub mod gate;
pub mod http;
pub mod leader;
pub mod patience;
pub mod positions;
pub mod presence;
pub mod reactions;
pub mod sealing;
pub mod server;
pub mod telemetry;
pub mod work;

/// Chooses the one crypto library for tokens and TLS; without it the first token would panic. May be called often.
pub fn install_crypto() {
    // An error says that it is installed.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

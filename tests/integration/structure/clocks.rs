//! Where wall clocks are read.

use std::path::PathBuf;

use super::{files, text};

/// The files of the agent that contain a text.
fn with(what: &str) -> Vec<PathBuf> {
    files("agent/src", ".rs").into_iter().filter(|path| text(path).contains(what)).collect()
}

/// The clock of a machine may be wrong, so no decision of its agent depends on it: it is only shown.
#[test]
fn agent_clock_is_read_for_heartbeats_only() {
    assert_eq!(with("clock::now"), [PathBuf::from("agent/src/heartbeat.rs")]);
    assert_eq!(with("now_utc"), [PathBuf::from("agent/src/clock.rs")]);
    assert!(with("SystemTime").is_empty());
    assert_eq!(text("agent/src/heartbeat.rs").matches("clock::now").count(), 1, "beside the heartbeat's `at`");
}

//! Runs the tests of `e2e/`, which are programs for Node.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::structure::root;

/// Far longer than a run takes.
const RUN_TIMEOUT: Duration = Duration::from_secs(150);

/// Whether nothing is missing, of what the tests of `what` need. CI leaves out nothing.
pub fn can_run(what: &str, missing: Option<&str>) -> bool {
    let Some(missing) = missing else { return true };
    assert!(std::env::var_os("CI").is_none(), "{what} need {missing}");
    eprintln!("left out: {what} need {missing}");
    false
}

/// Runs the tests of these files; they must pass.
pub async fn run(files: &[&str], settings: &[(&str, String)]) {
    let mut command = Command::new("node");
    command.arg("--test").args(files).current_dir(root().join("e2e")).envs(settings.iter().cloned());
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(RUN_TIMEOUT, run).await.expect("the tests of e2e/ do not end").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

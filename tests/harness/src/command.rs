//! The program `dockhost` as a command that ends: what it says and how it ends.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Longer than any command takes that ends by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(90);

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs it in `directory`, with this environment and nothing of ours but what finds programs.
pub async fn run(directory: &Path, args: &[&str], env: &[(&'static str, String)]) -> Said {
    let mut command = Command::new(super::program("dockhost"));
    command.args(args).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true).env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let output = tokio::time::timeout(ENDS_WITHIN, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("dockhost {args:?} does not end")).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

//! Runs a `dockhost` command and returns its output and exit code.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Longer than any command takes.
const COMMAND_DEADLINE: Duration = Duration::from_secs(90);

/// The output and the exit code of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs the command in `directory` with this environment, and of the test's own only what is needed to find programs.
pub async fn run(directory: &Path, args: &[&str], env: &[(&'static str, String)]) -> CommandOutput {
    let mut command = Command::new(super::program("dockhost"));
    command.args(args).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true).env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let output = tokio::time::timeout(COMMAND_DEADLINE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("dockhost {args:?} did not exit")).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    CommandOutput { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

//! Runs a `dockhost` command and returns its output and exit code.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Longer than a command usually takes.
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
    run_with_input(directory, args, env, "").await
}

/// The same with this standard input, which is no terminal.
pub async fn run_with_input(
    directory: &Path,
    args: &[&str],
    env: &[(&'static str, String)],
    input: &str,
) -> CommandOutput {
    let mut command = Command::new(super::program("dockhost"));
    command.args(args);
    finish(COMMAND_DEADLINE, command, directory, env, input).await
}

/// The same for a command that may take longer than others.
pub async fn run_within(
    deadline: Duration,
    directory: &Path,
    args: &[&str],
    env: &[(&'static str, String)],
) -> CommandOutput {
    let mut command = Command::new(super::program("dockhost"));
    command.args(args);
    finish(deadline, command, directory, env, "").await
}

/// Runs a script of bash, which ends at its first error, in the same way.
pub async fn run_script(directory: &Path, script: &str, env: &[(&'static str, String)], input: &str) -> CommandOutput {
    let mut command = Command::new("bash");
    command.args(["-eu", "-o", "pipefail", "-c", script]);
    finish(COMMAND_DEADLINE, command, directory, env, input).await
}

async fn finish(
    deadline: Duration,
    mut command: Command,
    directory: &Path,
    env: &[(&'static str, String)],
    input: &str,
) -> CommandOutput {
    let what = format!("{:?}", command.as_std());
    command.current_dir(directory).kill_on_drop(true).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["PATH", "HOME", "TMPDIR"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input may have closed it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(deadline, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{what} did not exit")).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    CommandOutput { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

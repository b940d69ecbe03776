//! Runs the machine's own tools.

use std::process::{Command, Stdio};

/// Runs a command given as words; returns its output.
///
/// # Errors
/// If the program is missing or fails, with what it printed.
pub(super) fn run(words: &str) -> Result<String, String> {
    run_words(words.split_whitespace())
}

/// The same with separate words, which may contain spaces.
///
/// # Errors
/// If the program is missing or fails, with what it printed.
pub(super) fn run_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
    let words: Vec<&str> = words.into_iter().collect();
    let mut command = Command::new(words[0]);
    // Debian keeps some of these tools out of the PATH of users.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    command.args(&words[1..]).env("PATH", path).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{}: {error}", words[0]))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

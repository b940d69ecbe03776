//! Passwords from a terminal, without showing them, or from standard input. Never from an argument, which other users of the
//! machine see in the list of processes.

use std::io::{self, IsTerminal};

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};

/// Reads a password: from a terminal, or the first line of standard input.
///
/// # Errors
/// Nothing was entered.
pub fn read() -> anyhow::Result<SecretString> {
    if io::stdin().is_terminal() { prompt("Password: ") } else { read_line() }
}

/// Reads a new password: twice from a terminal, or the first line of standard input.
///
/// # Errors
/// Nothing was entered, or two different passwords.
pub fn read_new() -> anyhow::Result<SecretString> {
    if !io::stdin().is_terminal() {
        return read_line();
    }
    let password = prompt("Password: ")?;
    if password.expose_secret() != prompt("The same again: ")?.expose_secret() {
        bail!("the two passwords differ; nothing was done");
    }
    Ok(password)
}

fn prompt(text: &str) -> anyhow::Result<SecretString> {
    Ok(rpassword::prompt_password(text).context("reading the password from the terminal")?.into())
}

fn read_line() -> anyhow::Result<SecretString> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("reading the password from standard input")?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        bail!("enter the password on a terminal, or pass it on standard input");
    }
    Ok(password.into())
}

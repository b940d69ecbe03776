//! `dockhost openapi`: prints the HTTP API's document.

use std::io::Write;
use std::process::ExitCode;

/// Prints the document.
pub fn print() -> anyhow::Result<ExitCode> {
    writeln!(std::io::stdout().lock(), "{}", crate::http::openapi::json()?)?;
    Ok(ExitCode::SUCCESS)
}

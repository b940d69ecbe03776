//! `dockhost secrets`: generates the secrets of an installation, and the public keys for the broker.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::dev::secrets::{GeneratedSecrets, database_env, write_private};

/// The arguments of `secrets`.
#[derive(Debug, Args)]
pub struct Secrets {
    /// Write them to a new file that only its owner can read; an existing file is not replaced, because its master key may
    /// be in use.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl Secrets {
    /// Generates and prints or writes them.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let lines = lines(&GeneratedSecrets::generate()?)?;
        match self.write {
            None => print!("{lines}"),
            Some(file) => {
                write_private(&file, &lines)
                    .with_context(|| format!("{} is not written, and is as it was", file.display()))?;
                eprintln!("the secrets are in {}; keep a copy of DOCKHOST_MASTER_KEY elsewhere", file.display());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The lines of an `.env` file.
fn lines(secrets: &GeneratedSecrets) -> anyhow::Result<String> {
    let mut lines = String::new();
    writeln!(
        lines,
        "# For the main server. Keep a copy: without DOCKHOST_MASTER_KEY the stored personal data is lost."
    )?;
    for (name, value) in secrets.server_env() {
        writeln!(lines, "{name}={value}")?;
    }
    writeln!(lines, "# Registering a backend requires it.")?;
    writeln!(lines, "DOCKHOST_ENROLMENT_SECRET={}", secrets.enrolment())?;
    writeln!(lines, "# For nats-server: public keys.")?;
    for (name, value) in secrets.broker_env()? {
        writeln!(lines, "{name}={value}")?;
    }
    writeln!(lines, "# For MongoDB in docker-compose.yml.")?;
    for (name, value) in database_env() {
        writeln!(lines, "{name}={value}")?;
    }
    Ok(lines)
}

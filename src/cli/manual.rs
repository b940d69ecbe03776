//! `dockhost man`: the manual pages, one for each command.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command};

/// The arguments of `man`.
#[derive(Debug, Args)]
pub struct Manual {
    /// The directory, for example /usr/local/share/man/man1.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Manual {
    /// Writes them.
    ///
    /// # Errors
    /// The directory can't be written to.
    pub fn write(self, command: Command) -> anyhow::Result<ExitCode> {
        let directory = self.directory.display();
        std::fs::create_dir_all(&self.directory).with_context(|| format!("creating {directory}"))?;
        clap_mangen::generate_to(command, &self.directory).with_context(|| format!("writing to {directory}"))?;
        Ok(ExitCode::SUCCESS)
    }
}

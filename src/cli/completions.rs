//! `dockhost completions`: what a shell needs to complete commands and options.

use std::io;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

/// The arguments of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    /// Prints them.
    ///
    /// # Errors
    /// None; a closed standard output ends the program.
    pub fn print(self, mut command: Command) -> anyhow::Result<ExitCode> {
        clap_complete::generate(self.shell, &mut command, "dockhost", &mut io::stdout());
        Ok(ExitCode::SUCCESS)
    }
}

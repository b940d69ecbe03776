//! `dockhost admin`: what administrators and the operator do from the command line. One file per subcommand.

mod create;

use std::process::ExitCode;

use clap::Subcommand;

/// The subcommands of `admin`.
#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Create an administrator, or make an existing user one. Runs beside the servers, with their environment.
    Create(Box<create::Create>),
}

impl Admin {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// What the subcommand says.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create(create) => create.run(),
        }
    }
}

//! What the commands share that are clients of the API: `client` sends requests, `session` keeps tokens, `output` prints.

pub mod action;
pub mod client;
pub mod history;
pub mod labels;
pub mod limit;
pub mod output;
pub mod private_file;
pub mod session;
pub mod settings;
pub mod sign_in;

use std::process::ExitCode;

use client::Failure;

/// The end of the help of these commands.
pub const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused or failed; 2 invalid arguments; 3 not signed in, or not allowed to; \
                              4 there is no such thing; 5 the server can't be reached.";

/// Prints what the API said, if it refused, and turns it into its exit code.
///
/// # Errors
/// All others.
pub fn reported(done: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    done.or_else(|error| match error.downcast_ref::<Failure>() {
        Some(failure) => {
            eprintln!("dockhost: {failure}");
            Ok(ExitCode::from(failure.exit_code()))
        }
        None => Err(error),
    })
}

/// The exit code of a command that succeeded.
///
/// # Errors
/// Those of the command.
pub async fn success(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    command.await.map(|()| ExitCode::SUCCESS)
}

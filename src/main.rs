//! The program `dockhost`; see [`dockhost::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    dockhost::cli::main()
}

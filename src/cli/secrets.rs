//! `dockhost secrets`: every secret that an installation needs, made once, and the public keys for the broker.

use std::process::ExitCode;

use crate::dev::secrets::GeneratedSecrets;

/// Prints them as lines of an `.env` file.
pub fn print() -> anyhow::Result<ExitCode> {
    let secrets = GeneratedSecrets::generate()?;
    println!("# For the main server. Keep them: DOCKHOST_MASTER_KEY opens what is stored.");
    for (name, value) in secrets.server_env() {
        println!("{name}={value}");
    }
    println!("# For nats-server: public keys.");
    for (name, value) in secrets.broker_env()? {
        println!("{name}={value}");
    }
    Ok(ExitCode::SUCCESS)
}

//! `dockhost secrets`: generates the secrets of an installation, and the public keys for the broker.

use std::process::ExitCode;

use crate::dev::secrets::{GeneratedSecrets, database_env};

/// Prints them as lines of an `.env` file.
pub fn print() -> anyhow::Result<ExitCode> {
    let secrets = GeneratedSecrets::generate()?;
    println!("# For the main server. Keep a copy: without DOCKHOST_MASTER_KEY the stored personal data is lost.");
    for (name, value) in secrets.server_env() {
        println!("{name}={value}");
    }
    println!("# Whoever registers a backend must give it.");
    println!("DOCKHOST_ENROLMENT_SECRET={}", secrets.enrolment());
    println!("# For nats-server: public keys.");
    for (name, value) in secrets.broker_env()? {
        println!("{name}={value}");
    }
    println!("# For MongoDB in docker-compose.yml.");
    for (name, value) in database_env() {
        println!("{name}={value}");
    }
    Ok(ExitCode::SUCCESS)
}

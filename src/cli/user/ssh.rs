//! `dockhost ssh`.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::host_keys::{self, Login};
use crate::cli::api::client::{ApiArgs, Client, path_segment};

/// The end of the help.
pub const EXIT_CODES: &str =
    "Exit codes: that of ssh, which is that of the command; before ssh runs, those of the other commands.";

/// The arguments of `ssh`.
#[derive(Debug, Args)]
pub struct Ssh {
    /// The instance: its name or id.
    #[arg(value_name = "INSTANCE")]
    instance: String,
    /// Resume it first if it is stopped.
    #[arg(long)]
    resume: bool,
    /// The file with your private key [default: ssh chooses].
    #[arg(short, long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// What to run there instead of a shell.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Ssh {
    /// Becomes `ssh`.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), the instance does not run, its host keys are others, or there is no `ssh`.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let client = Client::new(&self.api)?;
        let path = format!("user/instance/{}", path_segment(&self.instance)?);
        let mut instance = client.get(&path, &[]).await?;
        if self.resume && instance["status"] == "stopped" {
            let body = json!({ "instanceId": self.instance });
            instance = client.send(Method::PUT, "user/instance/resume", |request| request.json(&body)).await?;
        }
        match instance["status"].as_str() {
            Some("running") => {}
            Some("stopped") => bail!("{} is stopped; use --resume, or: dockhost resume {0}", self.instance),
            status => bail!("{} is {}", self.instance, status.unwrap_or("not known")),
        }
        let login = Login::of(&instance).ok_or_else(|| anyhow!("the address of {} is not known", self.instance))?;
        host_keys::learn(&login).await?;
        let known_hosts = host_keys::file()?;
        let mut ssh = Command::new("ssh");
        for (name, value) in login.options(&known_hosts.display().to_string()) {
            ssh.arg("-o").arg(format!("{name}={value}"));
        }
        if let Some(identity) = &self.identity {
            ssh.arg("-i").arg(identity);
        }
        ssh.arg("--").arg(&login.name).args(&self.command);
        Err(ssh.exec()).context("running ssh, which belongs to OpenSSH")
    }
}

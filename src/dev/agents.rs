//! The embedded agents: each is registered over the API like any other machine, then started as a child.
//!
//! In: how many, and which runtime. Out: running agents. Names and passwords are kept beside the data, so that a
//! restart signs the same machines in again and gets the same keys.

use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::engine::Runtime;
use super::process::{Child, Program};
use crate::common::clock;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const AGENT_PROGRAM: &str = "dockhost-agent";
/// Containers that each embedded agent takes.
const MAX_CONTAINERS_PER_AGENT: u32 = 10;

/// What the agents share.
pub struct AgentLauncher {
    /// The API.
    pub api: String,
    /// The broker, as the agents reach it.
    pub nats_url: String,
    /// Where people reach the containers.
    pub lan_ip: IpAddr,
    /// What runs them.
    pub runtime: Runtime,
    /// The image, if not the usual one.
    pub image: Option<String>,
    /// Where names, passwords, logs and simulated containers are kept.
    pub data: PathBuf,
}

impl AgentLauncher {
    /// Registers and starts agent number `n`, from 1.
    ///
    /// # Errors
    /// If it can't be registered or its program can't be started.
    pub async fn start(&self, n: usize) -> anyhow::Result<Child> {
        let name = format!("dev-{n}");
        let home = self.data.join("agents").join(&name);
        fs::create_dir_all(&home)?;
        let key = self.register(&name, &home).await.with_context(|| format!("registering agent {name}"))?;
        let args: Vec<OsString> =
            ["--runtime".into(), self.runtime.as_str().into(), "--state-dir".into(), home.clone().into()].into();
        let mut env =
            vec![("DOCKHOST_API_KEY", key), ("NATS_URL", self.nats_url.clone()), ("LAN_IP", self.lan_ip.to_string())];
        if let Some(image) = &self.image {
            env.push(("DOCKHOST_IMAGE", image.clone()));
        }
        let program = Program { name: AGENT_PROGRAM, path: agent_program(), args, env, log: home.join("agent.log") };
        Ok(program.start()?)
    }

    /// Signs the machine in, or up the first time; returns its API key.
    async fn register(&self, name: &str, home: &Path) -> anyhow::Result<String> {
        let path = home.join("password");
        let password = match fs::read_to_string(&path) {
            Ok(password) => password,
            Err(_) => {
                let fresh = clock::fresh_uuid().simple().to_string() + &clock::fresh_uuid().simple().to_string();
                super::secrets::write_private(&path, &fresh)?;
                fresh
            }
        };
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        let post = async |path: &str, body: Value| {
            let answer = client.post(format!("{}/api/v2/backend/{path}", self.api)).json(&body).send().await?;
            anyhow::Ok((answer.status(), answer.json::<Value>().await?))
        };
        let signup = json!({ "username": name, "password": password, "maxContainers": MAX_CONTAINERS_PER_AGENT, "labName": "this machine" });
        let (mut status, mut body) = post("signup", signup).await?;
        if status == reqwest::StatusCode::CONFLICT {
            (status, body) = post("signin", json!({ "username": name, "password": password })).await?;
        }
        match body["data"]["DOCKHOST_API_KEY"].as_str() {
            Some(key) => Ok(key.to_owned()),
            None => bail!("{status}: {}", body["message"].as_str().unwrap_or_default()),
        }
    }
}

/// The agent's program: beside our own, where a build puts it; else wherever PATH finds it.
fn agent_program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(AGENT_PROGRAM));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(AGENT_PROGRAM))
}

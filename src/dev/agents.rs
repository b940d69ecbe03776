//! The embedded agents: each signs up over the API as any backend does, then runs as a child process.
//!
//! Names and passwords are stored in the data directory, so that a restart signs the same backends in again.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::engine::Runtime;
use super::process::{Child, Program};
use crate::common::clock;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const AGENT_PROGRAM: &str = "dockhost-agent";
/// The folder of the data directory that has a folder for each agent.
pub const AGENTS_DIR: &str = "agents";
/// The file in an agent's folder that has its key.
pub const API_KEY_FILE: &str = "api-key";
const MAX_CONTAINERS_PER_AGENT: u32 = 10;

/// What all embedded agents have in common.
pub struct AgentLauncher {
    /// URL of the API.
    pub api: String,
    /// What registering a backend requires, if anything.
    pub enrolment_secret: Option<String>,
    /// URL of the broker.
    pub nats_url: String,
    /// Address at which users reach the containers.
    pub lan_ip: IpAddr,
    /// What runs the containers.
    pub runtime: Runtime,
    /// Image of the instances; the agents' default if absent.
    pub image: Option<String>,
    /// Directory of passwords, logs and simulated containers.
    pub data: PathBuf,
}

impl AgentLauncher {
    /// Registers and starts agent `n`; the first is 1.
    ///
    /// # Errors
    /// The API refused the agent, or its program can't be started.
    pub async fn start(&self, n: usize) -> anyhow::Result<Child> {
        let name = format!("dev-{n}");
        let home = self.data.join(AGENTS_DIR).join(&name);
        DirBuilder::new().recursive(true).mode(0o700).create(&home)?;
        let key = self.register(&name, &home).await.with_context(|| format!("registering agent {name}"))?;
        // With it the containers can be found when no server runs.
        super::secrets::replace_private(&home.join(API_KEY_FILE), &key)?;
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

    /// Signs the backend up, or in if it exists; returns its API key.
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
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy().build()?;
        let post = async |path: &str, body: Value| {
            let answer = client.post(format!("{}/api/v2/backend/{path}", self.api)).json(&body).send().await?;
            anyhow::Ok((answer.status(), answer.json::<Value>().await?))
        };
        let signup = json!({
            "username": name, "password": password, "maxContainers": MAX_CONTAINERS_PER_AGENT, "labName": "this machine",
            "enrolmentSecret": self.enrolment_secret,
        });
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

/// The agent's program: the build puts it beside this one; otherwise it is searched for on PATH.
pub fn agent_program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(AGENT_PROGRAM));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(AGENT_PROGRAM))
}

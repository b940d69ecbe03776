//! The backends of a world and their agents.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use dockhost::dev::process::Program;
use serde_json::{Value, json};

use super::super::containers::Containers;
use super::super::hosts::Host;
use super::super::pause::{pause, resume};
use super::super::program;
use super::super::wait::wait_until;
use super::{Agent, Proxies, World};

/// What an agent does may need a key to end, and some attempts.
const LOG_DEADLINE: Duration = Duration::from_secs(90);

impl World {
    /// Registers a backend without starting its agent.
    pub async fn register(&mut self, name: &str, max_containers: u32) -> usize {
        let body = json!({ "username": name, "password": "a long password", "maxContainers": max_containers });
        let answer = self.client(0).post("/api/v2/backend/signup", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let data = answer.data();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let key = text(&data["DOCKHOST_API_KEY"]);
        let proxies = self.proxies(false).await;
        let host = Host::on(self.hosts.as_ref(), name);
        self.agents.push(Agent { name: name.to_owned(), key, process: None, proxies, host });
        self.agents.len() - 1
    }

    /// Registers a backend and starts a simulated agent; returns when it is connected.
    pub async fn add_agent(&mut self, name: &str, max_containers: u32) -> usize {
        self.add_agent_with(name, max_containers, &[]).await
    }

    /// The same with other agent settings (`("DOCKHOST_SIMULATE_REFUSE", "true")`).
    pub async fn add_agent_with(
        &mut self,
        name: &str,
        max_containers: u32,
        settings: &[(&'static str, &str)],
    ) -> usize {
        let index = self.register(name, max_containers).await;
        self.start_agent(index, settings);
        self.wait_for_backend(name, "connected").await;
        index
    }

    /// A second machine with the same API key and a copy of the first one's disk. Its agent is not started.
    pub fn clone_machine(&mut self, index: usize, name: &str) -> usize {
        let original = &self.agents[index];
        let (from, to) = (self.data.path().join(&original.name), self.data.path().join(name));
        std::fs::create_dir(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        let key = original.key.clone();
        let host = Host::on(self.hosts.as_ref(), name);
        self.agents.push(Agent { name: name.to_owned(), key, process: None, proxies: Proxies::default(), host });
        self.agents.len() - 1
    }

    /// The log of an agent.
    pub fn agent_log(&self, index: usize) -> String {
        let path = self.data.path().join(format!("agent-{}.log", self.agents[index].name));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Starts the agent of a registered backend.
    pub fn start_agent(&mut self, index: usize, settings: &[(&'static str, &str)]) {
        let state = self.data.path().join(&self.agents[index].name);
        let mut env = vec![
            ("LAN_IP", "127.0.0.1".to_owned()),
            ("DOCKHOST_RUNTIME", "simulated".to_owned()),
            ("DOCKHOST_STATE_DIR", state.display().to_string()),
        ];
        env.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        self.start_program(index, "dockhost-agent", program("dockhost-agent"), vec![], env);
    }

    /// Starts another program as the agent of a registered backend. `DOCKHOST_API_KEY` is in its environment besides `env`, and
    /// `NATS_URL` unless `env` has one.
    pub fn start_program(
        &mut self,
        index: usize,
        name: &'static str,
        path: PathBuf,
        args: Vec<OsString>,
        mut env: Vec<(&'static str, String)>,
    ) {
        let agent = &mut self.agents[index];
        env.push(("DOCKHOST_API_KEY", agent.key.clone()));
        if !env.iter().any(|(name, _)| *name == "NATS_URL") {
            env.push(("NATS_URL", agent.proxies.nats_url().unwrap_or_else(|| self.nats.url())));
        }
        let log = self.data.path().join(format!("agent-{}.log", agent.name));
        let program = Program { name, path, args, env, log };
        agent.process = Some(agent.host.place_with_clock(program).start().unwrap());
    }

    /// Kills an agent with SIGKILL.
    pub async fn kill_agent(&mut self, index: usize) {
        self.agents[index].process.take().unwrap().kill().await;
    }

    /// Stops an agent as a deployment does: it ends in order.
    pub async fn stop_agent(&mut self, index: usize) {
        self.agents[index].process.take().unwrap().stop(super::STOP_DEADLINE).await;
    }

    /// Pauses an agent until [`World::resume_agent`].
    pub async fn pause_agent(&mut self, index: usize) {
        pause(self.agents[index].process.as_mut().unwrap()).await;
    }

    pub async fn resume_agent(&mut self, index: usize) {
        resume(self.agents[index].process.as_mut().unwrap()).await;
    }

    /// The files with the keys that an agent has fetched and stored.
    pub fn stored_keys(&self, agent: usize) -> Vec<PathBuf> {
        let state = self.data.path().join(&self.agents[agent].name);
        let files = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|kind| kind == "key")).collect()
    }

    /// Waits until an agent's log has a text so many times.
    pub async fn wait_for_agent_log(&self, agent: usize, text: &str, times: usize) {
        wait_until(&format!("the agent's log says {times} times: {text}"), LOG_DEADLINE, async || {
            let log = self.agent_log(agent);
            if log.matches(text).count() >= times { Ok(()) } else { Err(log) }
        })
        .await;
    }

    /// Makes what a simulated container does behind its agent's back happen: `name` is an instance's id or `engine`, and
    /// `content` what the runtime's module `accidents` describes.
    pub fn cause_accident(&self, agent: usize, name: &str, content: &Value) {
        let directory = self.data.path().join(&self.agents[agent].name).join("ends");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(name), content.to_string()).unwrap();
    }

    /// The containers of an agent's simulated runtime.
    pub fn containers(&self, agent: usize) -> Containers {
        Containers::read_from(&self.data.path().join(&self.agents[agent].name))
    }
}

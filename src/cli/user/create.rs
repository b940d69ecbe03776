//! `dockhost create`.

use clap::Args;
use dockhost_domain::labels::Label;
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value};

use super::change::sentence;
use super::{key_file, keys};
use crate::cli::api::client::{ApiArgs, Client, Failure};
use crate::cli::api::labels::object;
use crate::cli::api::output::{self, Output};
use crate::common::clock;

/// How often a request without an answer is sent. The server knows it again by its key.
const ATTEMPTS: usize = 3;

/// The arguments of `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name [default: the server chooses one].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// One of the server's sizes, such as small.
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["cpu", "memory"])]
    size: Option<String>,
    /// Processors.
    #[arg(long, value_name = "NUMBER")]
    cpu: Option<f64>,
    /// Memory in MiB.
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// A label that its machine must have; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    requires: Vec<Label>,
    /// The name of one of your SSH keys that may log in; may be repeated [default: all].
    #[arg(long = "key", value_name = "NAME")]
    keys: Vec<String>,
    /// How long to wait until it runs, in seconds. 0: don't wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u8).range(..=60))]
    wait: u8,
    #[command(flatten)]
    api: ApiArgs,
}

impl Create {
    /// Creates the instance. An account without an SSH key gets that of this machine.
    ///
    /// # Errors
    /// [`Failure`], or there is no key.
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        if self.keys.is_empty() && keys::all(&client).await?.is_empty() {
            let key = key_file::own().await?;
            keys::add(&client, &key_file::this_machine(), &key.public).await?;
            eprintln!("added {} to your account", key.path.display());
        }
        let (output, wait) = (self.api.output, self.wait);
        let created = request(&client, &self.body(), wait).await?;
        if output == Output::Json {
            return client.print_one(&created);
        }
        println!("{}", sentence("the instance", &created));
        if let Some(command) = created.pointer("/sshDetails/command").and_then(Value::as_str) {
            let name = created["name"].as_str().unwrap_or_default();
            println!("  dockhost ssh {}      or: {}", output::plain(name), output::plain(command));
        }
        Ok(())
    }

    fn body(self) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("name", self.name.map(Value::from));
        put("size", self.size.map(Value::from));
        put("cpu", self.cpu.map(Value::from));
        put("memoryMib", self.memory.map(Value::from));
        put("requires", (!self.requires.is_empty()).then(|| object(self.requires)));
        put("keys", (!self.keys.is_empty()).then(|| Value::from(self.keys)));
        body
    }
}

/// Sends the request until there is an answer; all attempts are one for the server.
async fn request(client: &Client, body: &Map<String, Value>, wait: u8) -> Result<Value, Failure> {
    let key = clock::fresh_uuid().to_string();
    let prefer = if wait == 0 { "respond-async".to_owned() } else { format!("wait={wait}") };
    let with = |request: RequestBuilder| request.header("idempotency-key", &key).header("prefer", &prefer).json(body);
    let mut attempt = 1;
    loop {
        match client.send(Method::POST, "user/instance", with).await {
            Err(Failure::Unreachable(..)) if attempt < ATTEMPTS => attempt += 1,
            Err(Failure::Refused { code, .. }) if code == "outcome_unknown" && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

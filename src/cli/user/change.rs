//! `dockhost stop`, `resume` and `rm`.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::api::action::Action;
use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::api::output::{self, Output};
use crate::cli::confirmation;

/// The arguments of `stop` and `resume`.
#[derive(Debug, Args)]
pub struct Change {
    /// The instances: names or ids.
    #[arg(value_name = "INSTANCE", required = true)]
    instances: Vec<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// The arguments of `rm`.
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    change: Change,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
}

impl Change {
    /// Changes one instance after the other.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure) of the first that fails; those before it are changed.
    pub async fn run(self, action: Action) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let (method, path) = match action {
            Action::Stop => (Method::PUT, "user/instance/stop"),
            Action::Resume => (Method::PUT, "user/instance/resume"),
            Action::Delete => (Method::DELETE, "user/instance"),
        };
        let mut changed = Vec::new();
        for instance in &self.instances {
            let body = json!({ "instanceId": instance });
            let after = client.send(method.clone(), path, |request| request.json(&body)).await?;
            match self.api.output {
                Output::Table => println!("{}", sentence(instance, &after)),
                Output::Json => changed.push(after),
            }
        }
        if self.api.output == Output::Json { client.print_list(&changed, &[]) } else { Ok(()) }
    }
}

impl Delete {
    /// Deletes the instances, if that is confirmed.
    ///
    /// # Errors
    /// As [`Change::run`], or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let question = format!("Delete {} with all files?", self.change.instances.join(", "));
        confirmation::require(self.yes, &question, stop).await?;
        self.change.run(Action::Delete).await
    }
}

/// What an instance is now, in one line.
pub fn sentence(instance: &str, now: &Value) -> String {
    let text = |pointer: &str| now.pointer(pointer).and_then(Value::as_str).map(output::plain);
    let name = text("/name").unwrap_or_else(|| output::plain(instance));
    let status = text("/status").unwrap_or_default();
    match text("/backend/name") {
        Some(backend) if status == "running" => format!("{name} is running on {backend}"),
        _ => format!("{name} is {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_names_instance_status_and_backend() {
        let running =
            json!({ "name": "web", "status": "running", "backend": { "name": "lab-1", "status": "connected" } });
        assert_eq!(sentence("web", &running), "web is running on lab-1");
        assert_eq!(sentence("web", &json!({ "name": null, "status": "deleted", "backend": null })), "web is deleted");
    }
}

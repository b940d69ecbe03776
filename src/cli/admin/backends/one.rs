//! What the commands on one backend share.

use clap::Args;
use reqwest::{Method, RequestBuilder};

use crate::cli::api::client::{ApiArgs, Client};

/// A backend, and where the server is.
#[derive(Debug, Args)]
pub struct OneBackend {
    /// Name or id.
    #[arg(value_name = "BACKEND")]
    backend: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl OneBackend {
    /// A client, and the backend's id.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn find(&self) -> anyhow::Result<(Client, String)> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/backends", "backend", &self.backend).await?;
        Ok((client, id))
    }

    /// Its name or id, as given.
    pub fn given(&self) -> &str {
        &self.backend
    }

    /// Sends a request about it to `admin/backends/<id><below>`, and prints the answer.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn send(
        &self,
        method: Method,
        below: &str,
        change: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> anyhow::Result<()> {
        let (client, id) = self.find().await?;
        client.print_one(&client.send(method, &format!("admin/backends/{id}{below}"), change).await?)
    }

    /// The same with `POST` and no body.
    ///
    /// # Errors
    /// As [`OneBackend::send`].
    pub async fn post(&self, below: &str) -> anyhow::Result<()> {
        self.send(Method::POST, below, |request| request).await
    }
}

//! Closes a backend's connections to the broker, with the broker's system account.

use std::time::Duration;

use dockhost_domain::ids::BackendId;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::system_account::{Reply, Topic, ask, connect};
use crate::common::error::Cause;

/// A connection that was being opened is not listed yet, so the list is read several times.
const CLOSE_ATTEMPTS: u32 = 3;
const CLOSE_INTERVAL: Duration = Duration::from_secs(1);
/// Connections of one backend that a node lists.
const MAX_LISTED: usize = 1024;

/// Closes connections of backends.
#[derive(Clone)]
pub struct Kick {
    /// The broker's address, for the system account.
    pub nats_url: String,
    /// The key of the system account.
    pub system: Option<SecretString>,
}

/// The server has no key of the broker's system account.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("DOCKHOST_NATS_SYS_CREDS is not set, so connections stay open until they have to authenticate again")]
pub struct NoSystemAccount;

#[derive(Deserialize)]
struct Connections {
    #[serde(default)]
    connections: Vec<Connection>,
}

#[derive(Deserialize)]
struct Connection {
    cid: u64,
    #[serde(default)]
    authorized_user: String,
}

impl Kick {
    /// Closes the backend's connections on every node; returns their number. It takes some seconds, because it looks again
    /// for connections that were being opened.
    ///
    /// # Errors
    /// [`NoSystemAccount`], or the broker can't be reached.
    pub async fn close_connections(&self, backend: BackendId) -> Result<u64, Cause> {
        let system = self.system.as_ref().ok_or(NoSystemAccount)?;
        let broker = connect(&self.nats_url, system, "dockhost-kick").await?;
        let client = broker.client();
        let backend = backend.to_string();
        let mut closed = 0;
        for attempt in 0..CLOSE_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(CLOSE_INTERVAL).await;
            }
            let options = json!({ "auth": true, "user": backend, "limit": MAX_LISTED }).to_string();
            for Reply { server, data } in ask::<Connections>(&broker, Topic::Connections, options).await? {
                let Some(data) = data else { continue };
                for connection in data.connections.iter().filter(|connection| connection.authorized_user == backend) {
                    let kick = json!({ "cid": connection.cid }).to_string();
                    client.request(format!("$SYS.REQ.SERVER.{}.KICK", server.id), kick.into()).await?;
                    closed += 1;
                }
            }
        }
        Ok(closed)
    }
}

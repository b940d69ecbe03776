//! Backends that speak Socket.IO, as those of DockHostV2 do: each gets an agent of its own while it is connected.
//!
//! They have a server of Socket.IO of their own, at the same path: `role=backend` in the query of each of their requests leads
//! there. It notices within 10 s that a machine is gone.
//!
//! Two machines with one key, or a machine that has connected again before its earlier connection is known to be gone, are two
//! agents with one key, of which one acts (`broker::key_holder`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::backend::Backend;
use dockhost_domain::reported::BackendAddress;
use dockhost_gateway::socket::{ApiKey, Broker, Ended, Machine, serve};
use serde::Deserialize;
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Protocol, limited, protocol};
use crate::common::clock;
use crate::common::error::chain;
use crate::http::app::App;
use crate::http::extract::address_of;
use crate::http::response::ApiError;

/// In the query of each request of a backend.
const ROLE: &str = "role=backend";
/// How often a connection is checked, and how long its machine may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to join the namespace, and then to say its key.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Machines that one replica serves at once. Each has an agent with a connection to the broker.
const MAX_MACHINES: usize = 256;
/// The pause before the agent of a machine begins again whose key the broker refused though it is good.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long the agents may take to end at shutdown; one takes at most 1.5 s.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// What a machine says of itself. What is no text was not said.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Credentials {
    #[serde(rename = "DOCKHOST_API_KEY")]
    api_key: Value,
    #[serde(rename = "LAN_IP")]
    lan_ip: Value,
}

/// A key that nobody may use. Its machine's program ends when it is told so.
#[derive(Debug)]
struct InvalidKey;

impl fmt::Display for InvalidKey {
    /// In the words of DockHostV2.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invalid DOCKHOST_API_KEY")
    }
}

/// How a machine says its key.
#[derive(Clone)]
enum Introduction {
    /// It has, when it connected.
    Made(Machine),
    /// It may yet, by the event `authenticate`.
    Awaited(Arc<tokio::sync::Mutex<mpsc::Receiver<Machine>>>),
}

/// The backends that are connected to this replica.
#[derive(Clone)]
pub struct Backends {
    io: SocketIo,
    protocol: Protocol,
    shared: Arc<Shared>,
}

struct Shared {
    app: Arc<App>,
    broker: Broker,
    places: Semaphore,
    agents: TaskTracker,
}

impl Backends {
    /// The server for backends, whose agents connect to this broker.
    pub fn new(app: &Arc<App>, broker: Broker) -> Self {
        let (places, agents) = (Semaphore::new(MAX_MACHINES), TaskTracker::new());
        let shared = Arc::new(Shared { app: Arc::clone(app), broker, places, agents });
        let builder = limited(SocketIo::builder()).ping_interval(PING_INTERVAL).ping_timeout(PING_TIMEOUT);
        let (service, io) = builder.connect_timeout(CONNECT_TIMEOUT).build_svc();
        let (of_check, of_handler) = (Arc::clone(&shared), Arc::clone(&shared));
        let check = move |socket: SocketRef, credentials: TryData<Credentials>| {
            let shared = Arc::clone(&of_check);
            async move { shared.introduce(&socket, credentials).await }
        };
        let handler = move |socket: SocketRef| {
            let shared = Arc::clone(&of_handler);
            async move { shared.serve(socket).await }
        };
        io.ns("/", handler.with(check));
        Self { io, protocol: protocol(service), shared }
    }

    /// Whether a request with this query is one of a backend.
    pub fn are_meant(query: &str) -> bool {
        query.split('&').any(|part| part == ROLE)
    }

    /// Answers their requests.
    pub const fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// Whether one more machine can be served. A program of DockHostV2 tries again as long as it is refused by the answer to its
    /// first request.
    ///
    /// # Errors
    /// [`ApiError::busy`] if not.
    pub fn admit(&self) -> Result<(), ApiError> {
        if self.shared.places.available_permits() > 0 { Ok(()) } else { Err(ApiError::busy()) }
    }

    /// Closes the connections without a word, so that the machines connect to another replica, and lets the agents say that
    /// they end.
    pub async fn close(&self) {
        self.io.close().await;
        self.shared.agents.close();
        if timeout(END_TIMEOUT, self.shared.agents.wait()).await.is_err() {
            tracing::warn!(agents = self.shared.agents.len(), "stopping without the agents of Socket.IO backends");
        }
    }
}

impl Shared {
    /// Lets a machine in, unless its key is bad beyond doubt.
    async fn introduce(
        self: &Arc<Self>,
        socket: &SocketRef,
        TryData(credentials): TryData<Credentials>,
    ) -> Result<(), InvalidKey> {
        let credentials = credentials.unwrap_or_default();
        let introduction = if credentials.api_key.is_null() {
            Introduction::Awaited(Arc::new(tokio::sync::Mutex::new(self.await_introduction(socket))))
        } else {
            Introduction::Made(self.machine(socket, &credentials).await.ok_or(InvalidKey)?)
        };
        socket.extensions.insert(introduction);
        Ok(())
    }

    /// The documented way of DockHostV2: the key comes with an event.
    fn await_introduction(self: &Arc<Self>, socket: &SocketRef) -> mpsc::Receiver<Machine> {
        let (sender, receiver) = mpsc::channel(1);
        let shared = Arc::clone(self);
        let handler = move |socket: SocketRef, TryData(credentials): TryData<Credentials>, ack: AckSender| async move {
            let machine = shared.machine(&socket, &credentials.unwrap_or_default()).await;
            let answer = match &machine {
                Some(machine) => json!({ "success": true, "backendId": machine.key.backend() }),
                None => json!({ "success": false, "message": InvalidKey.to_string() }),
            };
            if let Err(error) = ack.send(&answer) {
                tracing::debug!(%error, "a Socket.IO backend is gone");
            }
            match machine {
                // It need not say it twice.
                Some(machine) => drop(sender.try_send(machine)),
                None => disconnect(socket),
            }
        };
        socket.on("authenticate", handler);
        receiver
    }

    /// The machine with these credentials; `None` if the key is bad beyond doubt.
    async fn machine(&self, socket: &SocketRef, credentials: &Credentials) -> Option<Machine> {
        let key: ApiKey = credentials.api_key.as_str()?.parse().ok()?;
        if self.is_bad(&key).await {
            tracing::warn!(backend = %key.backend(), "a Socket.IO backend is refused: its API key is not valid");
            return None;
        }
        let parts = socket.req_parts();
        let peer = address_of(&parts.extensions, &parts.headers, &self.app.settings.trusted_proxies);
        let said = credentials.lan_ip.as_str().and_then(|text| text.trim().parse().ok());
        let address = said.or_else(|| BackendAddress::of_ip(peer)).unwrap_or_else(BackendAddress::localhost);
        Some(Machine { key, address, peer })
    }

    /// Whether nobody may use a key. If the log can't be asked, nobody knows, and the broker refuses the key until it can.
    async fn is_bad(&self, key: &ApiKey) -> bool {
        let Ok(id) = self.app.api_keys.read(key.reveal()) else { return true };
        match self.app.executor.confirmed::<Backend>(id.backend_id).await {
            Ok(backend) => backend.state.key_validity(id.version, clock::now()).is_none(),
            Err(error) => {
                tracing::warn!(backend = %id.backend_id, error = chain(&error), "a backend's API key can't be checked now");
                false
            }
        }
    }

    /// Serves a machine until its connection ends.
    async fn serve(self: Arc<Self>, socket: SocketRef) {
        let gone = CancellationToken::new();
        let at_end = gone.clone();
        socket.on_disconnect(async move || at_end.cancel());
        let agents = self.agents.clone();
        // Tracked, so that a shutdown waits for it.
        agents.spawn(async move {
            let machine = gone.run_until_cancelled(self.introduced(&socket)).await;
            let Some(machine) = machine else { return };
            let Some(machine) = machine else { return disconnect(socket) };
            self.run_agent(&socket, &machine, &gone).await;
        });
    }

    /// Waits until a machine has said its key; `None` if it does not.
    async fn introduced(&self, socket: &SocketRef) -> Option<Machine> {
        match socket.extensions.get::<Introduction>()? {
            Introduction::Made(machine) => Some(machine),
            Introduction::Awaited(receiver) => {
                let mut said = receiver.lock().await;
                timeout(CONNECT_TIMEOUT, said.recv()).await.ok()?
            }
        }
    }

    async fn run_agent(&self, socket: &SocketRef, machine: &Machine, gone: &CancellationToken) {
        let backend = machine.key.backend();
        // More than there are places for can have come at once.
        let Some(place) = gone.run_until_cancelled(self.places.acquire()).await else { return };
        tracing::info!(%backend, address = %machine.address, peer = %machine.peer, "a Socket.IO backend is connected");
        loop {
            let ended = serve(socket, machine.clone(), &self.broker, gone.child_token()).await;
            if ended == Ended::Stopped || gone.is_cancelled() {
                break;
            }
            if self.is_bad(&machine.key).await {
                tracing::warn!(%backend, "a Socket.IO backend is disconnected: its API key is no longer valid");
                disconnect(socket.clone());
                break;
            }
            if gone.run_until_cancelled(sleep(AGAIN_AFTER)).await.is_none() {
                break;
            }
        }
        drop(place);
        tracing::info!(%backend, "a Socket.IO backend is no longer served");
    }
}

/// Ends the program at the other end, which does not connect again.
fn disconnect(socket: SocketRef) {
    // It may be gone already.
    let _ = socket.disconnect();
}

#[cfg(test)]
mod tests;

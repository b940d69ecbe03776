//! A broker for one backend, and what the servers of an installation do for it: they check its key, answer its hellos,
//! confirms and heartbeats, and store its reports and assignments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockhost_domain::ids::{AgentRunId, BackendId};
use dockhost_domain::room::Overcommit;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::auth::api_key::{ApiKeyId, ApiKeys};
use crate::auth::token::TokenSecret;
use crate::broker::callout::{AuthenticatedBackend, BackendAuthenticator, Callout};
use crate::broker::connect::Broker;
use crate::broker::hello::{Enrolment, Enrolments, HelloHandler};
use crate::broker::holders::Holders;
use crate::broker::jwt::Signer;
use crate::broker::key_holder::Recorded;
use crate::broker::service::Service;
use crate::broker::streams::incarnation::LastSeen;
use crate::broker::streams::{self, ASSIGNMENTS, REPORTS, StreamOptions};
use crate::common::clock;
use crate::common::error::Cause;
use crate::dev::nats::NatsServer;
use crate::dev::secrets::GeneratedSecrets;

use super::Address;
use super::confirming::{Confirming, Current};
use super::said::Record;

/// What the backend may hold.
const MAX_CONTAINERS: u32 = 1000;
/// As the servers' `DOCKHOST_LOST_AFTER_MS`.
const LOST_AFTER: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Nothing is appended to the log.
const LOG_BYTES: i64 = 1 << 20;

/// An API key, which is only read, not verified. `Debug` does not show it.
#[derive(Clone)]
pub struct ApiKey {
    text: String,
    backend: BackendId,
}

/// The text is no API key.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it is not an API key of a backend: it has no claim `sub` with the backend's id")]
pub struct InvalidApiKey;

#[derive(Deserialize)]
struct Claims {
    sub: BackendId,
}

impl FromStr for ApiKey {
    type Err = InvalidApiKey;

    fn from_str(text: &str) -> Result<Self, InvalidApiKey> {
        let claims = text.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).ok_or(InvalidApiKey)?;
        let Claims { sub: backend } = serde_json::from_slice(&claims).map_err(|_| InvalidApiKey)?;
        Ok(Self { text: text.to_owned(), backend })
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({}, …)", self.backend)
    }
}

impl ApiKey {
    /// The key's text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The key of a backend that is nowhere registered.
    fn generate() -> Result<Self, Cause> {
        let id = ApiKeyId { backend_id: BackendId::from_uuid(clock::fresh_uuid()), version: 1 };
        Ok(ApiKeys::new(&TokenSecret::from(clock::fresh_uuid().to_string())).derive(id, clock::now())?.parse()?)
    }
}

impl BackendAuthenticator for ApiKey {
    fn authenticate(&self, api_key: String) -> BoxFuture<'_, Option<AuthenticatedBackend>> {
        let found = (api_key == self.text).then_some(AuthenticatedBackend { id: self.backend, until: None });
        async move { found }.boxed()
    }
}

impl Enrolments for ApiKey {
    fn find(&self, backend: BackendId) -> BoxFuture<'_, Option<Enrolment>> {
        let enrolment = Enrolment { max_containers: MAX_CONTAINERS, awaits_approval: false, api_key: None };
        let found = (backend == self.backend).then_some(enrolment);
        async move { found }.boxed()
    }
}

/// The broker, and what is played on it. Both end when this is dropped.
pub struct Installation {
    /// `None` only while it is restarted.
    nats: Option<NatsServer>,
    nats_server: PathBuf,
    listen: SocketAddr,
    secrets: GeneratedSecrets,
    broker: Broker,
    key: ApiKey,
    /// What is current.
    pub current: Arc<Current>,
    /// What the backend says.
    pub said: Arc<Record>,
    holders: Arc<Holders>,
    reports: Arc<LastSeen>,
    _stop: DropGuard,
    // Dropped last: the broker writes into it.
    data: TempDir,
}

impl Installation {
    /// Starts the broker, and the services on it.
    ///
    /// # Errors
    /// If the broker does not start.
    pub async fn start(nats_server: PathBuf, listen: SocketAddr, key: Option<ApiKey>) -> Result<Self, Cause> {
        let (data, secrets) = (tempfile::tempdir()?, GeneratedSecrets::generate()?);
        let key = key.map_or_else(ApiKey::generate, Ok)?;
        let nats = NatsServer::start(&nats_server, data.path(), &secrets, listen).await?;
        let listen = nats.address();
        let broker = Broker::connect(&nats.url(), &secrets.nats, "dockhost-conformance", CONNECT_TIMEOUT).await?;
        let stop = CancellationToken::new();
        let (current, said, reports) = (Arc::default(), Arc::new(Record::default()), Arc::new(LastSeen::default()));
        let holders = Arc::new(Holders::new(broker.jetstream().clone()));
        let installation = Self {
            nats: Some(nats),
            nats_server,
            listen,
            secrets,
            broker,
            key,
            current,
            said,
            holders,
            reports,
            _stop: stop.clone().drop_guard(),
            data,
        };
        installation.ensure_streams().await?;
        installation.serve(&stop).await?;
        Ok(installation)
    }

    async fn serve(&self, stop: &CancellationToken) -> Result<(), Cause> {
        let Self { broker, key, said, reports, holders, .. } = self;
        let signer = Arc::new(Signer::from_seed(&self.secrets.callout)?);
        let key: Arc<ApiKey> = Arc::new(key.clone());
        let messages = Record::subscribe(broker, key.backend).await?;
        let (record, reader, incarnation) = (Arc::clone(said), broker.clone(), Arc::clone(reports));
        let listening = async move { record.run(messages, &reader, &incarnation).await };
        tokio::spawn(stop.clone().run_until_cancelled_owned(listening));
        let callout = Callout::open(broker.clone(), signer, key.clone(), Arc::default()).await?;
        tokio::spawn(callout.run(stop.clone()));
        let hello = HelloHandler {
            holders: Arc::clone(holders),
            enrolments: key,
            heartbeats: said.clone(),
            lost_after: LOST_AFTER,
            image: None,
            overcommit: Overcommit::default(),
            reports: Arc::clone(reports),
            deliveries: Arc::default(),
        };
        tokio::spawn(Service::open(broker.clone(), hello, Arc::default()).await?.run(stop.clone()));
        let confirming = Confirming(Arc::clone(&self.current));
        tokio::spawn(Service::open(broker.clone(), confirming, Arc::default()).await?.run(stop.clone()));
        Ok(())
    }

    async fn ensure_streams(&self) -> Result<(), Cause> {
        let js = self.broker.jetstream();
        streams::ensure(js, &StreamOptions { replicas: Some(1), max_bytes: LOG_BYTES }).await?;
        self.reports.record(&js.get_stream(REPORTS).await?.get_info().await?);
        Ok(())
    }

    /// Where the backend has to connect.
    pub fn address(&self) -> Address {
        Address { nats_url: format!("nats://{}", self.listen), api_key: self.key.clone() }
    }

    /// The backend.
    pub const fn backend(&self) -> BackendId {
        self.key.backend
    }

    /// Stores a message in the stream ASSIGNMENTS.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn publish(&self, subject: String, body: Vec<u8>) -> Result<(), Cause> {
        self.broker.jetstream().publish(subject, body.into()).await?.await?;
        Ok(())
    }

    /// Forgets assignments, and the reports that were stored.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn forget(&self, assignments: &str) -> Result<(), Cause> {
        let js = self.broker.jetstream();
        js.get_stream(ASSIGNMENTS).await?.purge().filter(assignments).await?;
        // No server reads them here, the broker stores so many of one backend only, and the stream allows no purge.
        let reports = js.get_stream(REPORTS).await?;
        let state = reports.cached_info().state.clone();
        for sequence in state.first_sequence..=state.last_sequence {
            if let Err(error) = reports.delete_message(sequence).await {
                // One that was removed before is missing in between.
                tracing::debug!(sequence, %error, "no report removed");
            }
        }
        Ok(())
    }

    /// Lets no report be stored from now on.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn remove_reports(&self) -> Result<(), Cause> {
        self.broker.jetstream().delete_stream(REPORTS).await?;
        Ok(())
    }

    /// Lets reports be stored again.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn make_reports(&self) -> Result<(), Cause> {
        self.ensure_streams().await
    }

    /// Waits until a report is stored.
    ///
    /// # Errors
    /// If none is in time, or the broker does not answer.
    pub async fn wait_for_stored_report(&self, within: Duration) -> Result<(), Cause> {
        let is_stored = async {
            while self.broker.jetstream().get_stream(REPORTS).await?.cached_info().state.messages == 0 {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            Ok(())
        };
        tokio::time::timeout(within, is_stored)
            .await
            .map_err(|_| "no report is stored, although the broker stores again")?
    }

    /// Lets an invented agent with the same key hold the backend.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn hold_by_another(&self) -> Result<(), Cause> {
        let (other, backend) = (AgentRunId::from_uuid(clock::fresh_uuid()), self.backend());
        let recorded = self.holders.read(backend).await?.map_or(Recorded::Nobody, Recorded::Held);
        self.holders.replace(backend, recorded, other, clock::now()).await?;
        self.said.pretend_other(Some(other));
        Ok(())
    }

    /// Ends [`Installation::hold_by_another`].
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn release(&self) -> Result<(), Cause> {
        self.said.pretend_other(None);
        let stream = self.broker.jetstream().get_stream(ASSIGNMENTS).await?;
        stream.delete_consumer(&self.backend().to_string()).await?;
        Ok(())
    }

    /// Kills the broker, and starts it again with what it has stored.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart_broker(&mut self) -> Result<(), Cause> {
        if let Some(nats) = self.nats.take() {
            nats.kill().await;
        }
        let started = NatsServer::start(&self.nats_server, self.data.path(), &self.secrets, self.listen).await?;
        self.nats = Some(started);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_key_is_read_but_not_verified() {
        let key = ApiKey::generate().unwrap();
        let text = key.reveal();
        assert_eq!(text.parse::<ApiKey>().unwrap().backend, key.backend);
        assert!(!format!("{key:?}").contains(text));
        for text in ["", "a.b.c", "e30.e30.e30"] {
            assert!(text.parse::<ApiKey>().is_err(), "{text}");
        }
    }
}

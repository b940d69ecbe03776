//! The broker: authentication of backends, and what an authenticated backend may do.
//!
//! These tests run against a real nats-server with the project's own `nats.conf`, so that accounts, exports and signed
//! permissions are tested together.

mod access;
mod allowed;
mod assignments;
mod authentication;
mod compose_cluster;
mod denied;
mod holders;
mod websocket;
mod write_proof;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, Message, Subscriber};
use dockhost::broker::assignments::Assignments;
use dockhost::broker::callout::{AuthenticatedBackend, BackendAuthenticator, Callout};
use dockhost::broker::connect::Broker;
use dockhost::broker::hello::{Enrolment, Enrolments, HelloHandler};
use dockhost::broker::holders::Holders;
use dockhost::broker::jwt::{MAX_LIFETIME, Signer};
use dockhost::broker::key_holder::Recorded;
use dockhost::broker::service::Service;
use dockhost::broker::streams::{self, StreamOptions};
use dockhost::common::clock;
use dockhost::event_log::memory::MemoryLog;
use dockhost::execute::Executor;
use dockhost::replica::confirm::ConfirmHandler;
use dockhost::replica::heartbeat_registry::HeartbeatRegistry;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::room::Overcommit;
use dockhost_domain::subject::Channel;
use dockhost_domain::wire::{Confirm, Confirmed, Welcome};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::harness::wait::DEADLINE;
use crate::harness::{Nats, wait_until};

/// A broker, the server's services on it, and two enrolled backends.
struct World {
    nats: Nats,
    main: Broker,
    ada: BackendId,
    bob: BackendId,
    /// Stops the callout.
    callout: CancellationToken,
    enrolled: Arc<Enrolled>,
    assignments: Assignments,
    holders: Arc<Holders>,
    executor: Arc<Executor>,
}

/// The enrolled backends by their keys.
struct Enrolled(HashMap<String, BackendId>);

impl BackendAuthenticator for Enrolled {
    fn authenticate(&self, api_key: String) -> BoxFuture<'_, Option<AuthenticatedBackend>> {
        let backend = self.0.get(&api_key).map(|id| AuthenticatedBackend { id: *id, until: None });
        async move { backend }.boxed()
    }
}

impl Enrolments for Enrolled {
    fn find(&self, backend: BackendId) -> BoxFuture<'_, Option<Enrolment>> {
        let is_enrolled = self.0.values().any(|enrolled| *enrolled == backend);
        async move { is_enrolled.then_some(Enrolment { max_containers: 8, awaits_approval: false, api_key: None }) }
            .boxed()
    }
}

impl World {
    async fn new() -> Self {
        Self::with_lifetime(MAX_LIFETIME).await
    }

    async fn with_lifetime(lifetime: Duration) -> Self {
        let nats = Nats::start().await;
        let main = nats.main().await;
        let options = StreamOptions { replicas: Some(1), max_bytes: 1 << 20 };
        streams::ensure(main.jetstream(), &options).await.unwrap();
        let (ada, bob) = (BackendId::from_uuid(clock::fresh_uuid()), BackendId::from_uuid(clock::fresh_uuid()));
        let enrolled = Arc::new(Enrolled(HashMap::from([("ada's".to_owned(), ada), ("bob's".to_owned(), bob)])));
        let callout = CancellationToken::new();
        let signer = Arc::new(Signer::from_seed(&nats.secrets.callout).unwrap());
        let callout_service = Callout::open(main.clone(), signer, enrolled.clone(), Arc::default())
            .await
            .unwrap()
            .with_lifetime(lifetime);
        tokio::spawn(callout_service.run(callout.clone()));
        let holders = Arc::new(Holders::new(main.jetstream().clone()));
        let heartbeats = Arc::new(HeartbeatRegistry::default());
        let hello = HelloHandler {
            holders: Arc::clone(&holders),
            enrolments: enrolled.clone(),
            lost_after: heartbeats.lost_after(),
            heartbeats: heartbeats.clone(),
            image: Some("team/box:v1".to_owned()),
            overcommit: Overcommit::default(),
            reports: Arc::default(),
            deliveries: Arc::default(),
        };
        tokio::spawn(Service::open(main.clone(), hello, Arc::default()).await.unwrap().run(CancellationToken::new()));
        let assignments = Assignments::open(main.jetstream()).await.unwrap();
        let executor = Executor::new(Arc::new(MemoryLog::default()));
        let confirming = ConfirmHandler {
            assignments: assignments.clone(),
            holders: Arc::clone(&holders),
            executor: Arc::clone(&executor),
        };
        tokio::spawn(
            Service::open(main.clone(), confirming, Arc::default()).await.unwrap().run(CancellationToken::new()),
        );
        Self { nats, main, ada, bob, callout, enrolled, assignments, holders, executor }
    }

    /// Connects with this key; the client uses the inbox of `backend`.
    async fn connect(&self, key: &str, backend: BackendId) -> Result<Agent, async_nats::ConnectError> {
        let (sender, events) = mpsc::unbounded_channel();
        let client = ConnectOptions::with_token(key.to_owned())
            .custom_inbox_prefix(format!("_INBOX.{backend}"))
            .request_timeout(Some(DEADLINE))
            .event_callback(move |event| {
                let _ = sender.send(event);
                std::future::ready(())
            })
            .connect(self.nats.url())
            .await?;
        Ok(Agent { client, backend, events })
    }

    async fn ada(&self) -> Agent {
        self.connect("ada's", self.ada).await.unwrap()
    }

    async fn bob(&self) -> Agent {
        self.connect("bob's", self.bob).await.unwrap()
    }

    /// Stores an assignment of a backend.
    async fn assign(&self, backend: BackendId, body: &str) -> InstanceId {
        let instance = InstanceId::from_uuid(clock::fresh_uuid());
        let subject = Channel::Assignment(backend, instance).to_string();
        self.main.jetstream().publish(subject, body.to_owned().into()).await.unwrap().await.unwrap();
        instance
    }
}

/// The body of a hello.
const HELLO: &str = r#"{"agentVersion":"test","agentRun":"7d6e1c1e-5d0a-4a53-9d52-8f0f3a0f5c11"}"#;

/// A connected backend.
struct Agent {
    client: Client,
    backend: BackendId,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Agent {
    async fn hello(&self) -> Welcome {
        let answer = self.client.request(Channel::Hello(self.backend).to_string(), HELLO.into()).await.unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    /// Whether the assignment is current.
    async fn confirm(&self, question: &Confirm) -> bool {
        let body = serde_json::to_vec(question).unwrap();
        let answer = self.client.request(Channel::Confirm(self.backend).to_string(), body.into()).await.unwrap();
        serde_json::from_slice::<Confirmed>(&answer.payload).unwrap().is_current
    }

    /// The code of the refusal of a confirm with this body.
    async fn refused_confirm(&self, body: String) -> String {
        let subject = Channel::Confirm(self.backend).to_string();
        let refused = self.client.request(subject, body.into()).await.unwrap();
        assert_eq!(refused.payload.len(), 0);
        refused.headers.as_ref().and_then(|headers| headers.get("Nats-Service-Error-Code")).unwrap().to_string()
    }

    /// Sends a pull request to its own consumer.
    async fn pull(&self, request: &serde_json::Value) -> Pull {
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(inbox.clone()).await.unwrap();
        let subject = pull_subject(self.backend);
        self.client.publish_with_reply(subject, inbox, request.to_string().into()).await.unwrap();
        Pull(answers)
    }

    /// The next event of the connection, other than `Connected`.
    async fn next_event(&mut self) -> String {
        loop {
            match timeout(DEADLINE, self.events.recv()).await.expect("no event of the connection") {
                Some(Event::Connected) => {}
                Some(event) => return event.to_string().to_lowercase(),
                None => panic!("the client is gone"),
            }
        }
    }
}

/// The replies to one pull request.
struct Pull(Subscriber);

impl Pull {
    async fn next(&mut self) -> Message {
        timeout(DEADLINE, self.0.next()).await.expect("no reply to the pull request").unwrap()
    }

    /// The status of the next reply; 0 for a message.
    async fn next_status(&mut self) -> u16 {
        self.next().await.status.map_or(0, |status| status.as_u16())
    }
}

fn pull_subject(backend: BackendId) -> String {
    format!("$JS.API.CONSUMER.MSG.NEXT.ASSIGNMENTS.{backend}")
}

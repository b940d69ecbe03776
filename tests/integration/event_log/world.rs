//! A log for one test, with either adapter, and events for it.

use std::time::Duration;

use dockhost::broker::streams::StreamOptions;
use dockhost::common::clock;
use dockhost::event_log::jetstream::{JetStreamLog, LogOptions, OpenError};
use dockhost::event_log::memory::MemoryLog;
use dockhost::event_log::{Append, Delivery, EventLog, Filter};
use dockhost::sealing::MasterKey;
use dockhost_domain::account::{AccountEvent, Created, Role};
use dockhost_domain::aggregate::Meta;
use dockhost_domain::envelope::{Actor, Envelope, Origin, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{EventId, PrincipalId, SessionId, UserId};
use dockhost_domain::session::{SessionEvent, Started};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::harness::Nats;
use crate::harness::wait::DEADLINE;

/// A personal value, which must be stored sealed only.
pub const SECRET: &str = "ada.lovelace@example.org";

pub enum World {
    Memory(MemoryLog),
    JetStream(Box<Live>),
}

/// A log on a broker for one test.
pub struct Live {
    pub log: JetStreamLog,
    pub client: async_nats::Client,
    pub nats: Nats,
}

impl Live {
    pub async fn start() -> Self {
        Self::with(options()).await
    }

    pub async fn with(options: LogOptions) -> Self {
        let nats = Nats::start().await;
        let client = nats.main().await.client().clone();
        let log = JetStreamLog::open(client.clone(), master(1), options).await.unwrap();
        Self { log, client, nats }
    }

    /// Another replica of the server on the same broker.
    pub async fn replica(&self, master: MasterKey) -> Result<JetStreamLog, OpenError> {
        JetStreamLog::open(self.nats.main().await.client().clone(), master, options()).await
    }

    /// Publishes without the adapter and without an expectation.
    pub async fn put_raw(&self, subject: &str, body: &str) -> u64 {
        let js = async_nats::jetstream::new(self.client.clone());
        js.publish(subject.to_owned(), body.to_owned().into()).await.unwrap().await.unwrap().sequence
    }
}

pub fn options() -> LogOptions {
    let streams = StreamOptions { max_bytes: 64 << 20, ..StreamOptions::default() };
    LogOptions { streams, ..LogOptions::default() }
}

pub fn master(byte: u8) -> MasterKey {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode([byte; 32]).parse().unwrap()
}

impl World {
    pub fn memory() -> Self {
        Self::Memory(MemoryLog::default())
    }

    pub async fn jetstream() -> Self {
        Self::JetStream(Box::new(Live::start().await))
    }

    pub fn log(&self) -> &dyn EventLog {
        match self {
            Self::Memory(log) => log,
            Self::JetStream(live) => &live.log,
        }
    }

    /// Stores an unreadable event.
    pub async fn put_unreadable(&self, aggregate: AggregateId) -> u64 {
        match self {
            Self::Memory(log) => log.put_unreadable(&aggregate.to_string(), "nonsense"),
            Self::JetStream(live) => live.put_raw(&aggregate.to_string(), "nonsense").await,
        }
    }

    pub async fn append(&self, expected: u64, envelope: &Envelope) -> u64 {
        self.log().append(at(expected, envelope)).await.unwrap()
    }

    pub fn follow(&self, after: u64, filter: Filter) -> Reader {
        Reader(self.log().follow(after, filter))
    }
}

/// A reader with deadlines.
pub struct Reader(pub BoxStream<'static, Delivery>);

impl Reader {
    pub async fn next(&mut self) -> Delivery {
        self.within(DEADLINE).await.expect("nothing was delivered in time")
    }

    pub async fn within(&mut self, wait: Duration) -> Option<Delivery> {
        tokio::time::timeout(wait, self.0.next()).await.ok().map(|delivery| delivery.expect("the reader ended"))
    }

    /// The next delivery that is not `Idle`.
    pub async fn next_busy(&mut self) -> Delivery {
        let busy = async {
            loop {
                match self.next().await {
                    Delivery::Idle => {}
                    delivery => return delivery,
                }
            }
        };
        tokio::time::timeout(DEADLINE, busy).await.expect("only idle deliveries in time")
    }

    /// The sequence of the next event.
    pub async fn event(&mut self) -> u64 {
        match self.next_busy().await {
            Delivery::Event(recorded) => recorded.sequence,
            other => panic!("not an event: {other:?}"),
        }
    }

    pub async fn caught_up(&mut self) {
        match self.next_busy().await {
            Delivery::CaughtUp => {}
            other => panic!("not caught up: {other:?}"),
        }
    }
}

pub fn at(expected: u64, envelope: &Envelope) -> Append {
    Append { expected, envelope: envelope.clone() }
}

pub fn sequences(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|recorded| recorded.sequence).collect()
}

/// A new user.
pub fn user() -> UserId {
    UserId::from_uuid(clock::fresh_uuid())
}

/// A sign-in of this user, without personal values.
pub fn sign_in(user: UserId) -> Envelope {
    let event = SessionEvent::Started(Started {
        session_id: SessionId::from_uuid(clock::fresh_uuid()),
        expires_at: Timestamp::from_millis(9_000_000_000_000),
        token: None,
        client: None,
        refresh_until: None,
    });
    envelope(AggregateId::Session(PrincipalId::from(user)), event)
}

/// The creation of this user's account, with [`SECRET`].
pub fn sign_up(user: UserId) -> Envelope {
    let event = AccountEvent::Created(Created {
        username: "ada".parse::<dockhost_domain::names::Username>().unwrap().into(),
        email: SECRET.to_owned().into(),
        password_verifier: "$argon2id$v=19$hush".to_owned().into(),
        ssh_public_key: None,
        role: Role::User,
        group_id: None,
    });
    envelope(AggregateId::Account(user), event)
}

fn envelope(aggregate: AggregateId, event: impl Into<Event>) -> Envelope {
    Envelope {
        aggregate,
        meta: Meta { id: EventId::from_uuid(clock::fresh_uuid()), time: clock::now() },
        origin: Origin::new(Actor::System, "test"),
        event: event.into(),
    }
}

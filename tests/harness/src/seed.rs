//! Fills a log quickly with backends, users and instances, before any server uses the broker.
//!
//! The domain decides each event, so servers, `verify`, `rebuild` and the checker accept the log. No deadline is open, so
//! servers have nothing to do. Users can sign in with [`PASSWORD`]. To seed much, start the broker with
//! [`Nats::start_unsynced`](crate::Nats::start_unsynced) and `reopen` it afterwards.

mod person;
mod publish;

use std::time::Duration;

use dockhost::auth::password::Passwords;
use dockhost::common::clock;
use dockhost::event_log::codec::Codec;
use dockhost::event_log::jetstream::JetStreamLog;
use dockhost::event_log::{EventLog, Filter};
use dockhost_domain::aggregate::{Aggregate, Command, Meta};
use dockhost_domain::backend::{Backend, Connected, EnrolBackend, Enrolled, MarkConnected};
use dockhost_domain::claim::{Claim, TakeClaim};
use dockhost_domain::envelope::{Actor, Envelope, Origin};
use dockhost_domain::ids::{BackendId, EventId, InstanceId, SessionId, UserId};
use dockhost_domain::names::Username;
use dockhost_domain::placement::Candidate;
use dockhost_domain::session::{Sessions, StartSession, Started};
use dockhost_domain::subject::ClaimKind;
use dockhost_domain::tenancy::{Facts, Policy};
use dockhost_domain::timestamp::Timestamp;

use crate::Nats;
use person::Life;
use publish::Publisher;

/// The password of all users.
pub const PASSWORD: &str = "correct horse";
/// Users whose events are interleaved in the log.
const CONCURRENT_USERS: usize = 64;

/// What each user does.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Instances per user, all running at the end.
    pub instances: usize,
    /// How often each instance is stopped and resumed (four events each time).
    pub cycles: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { instances: 3, cycles: 2 }
    }
}

/// A seeded user.
#[derive(Debug, Clone)]
pub struct Person {
    pub id: UserId,
    /// The username.
    pub name: Username,
    /// The running instances.
    pub instances: Vec<InstanceId>,
}

/// Writes the log. Nothing else may append to it meanwhile.
pub struct Seed {
    log: JetStreamLog,
    publisher: Publisher,
    verifier: String,
    machines: Vec<Candidate>,
    people: usize,
    reports: u64,
    now: Timestamp,
    /// The time between two events.
    pace: Duration,
}

impl Seed {
    /// The first event is `ago` old, with an event every `pace` up to the present; later events are of now. Finished
    /// instances are retained for seven days of event time, so the pace determines the size of a busy tenancy.
    pub async fn open(nats: &Nats, ago: Duration, pace: Duration) -> Self {
        let log = nats.log().await;
        let end = log.end(Filter::All).await.unwrap();
        let codec = Codec::new(log.keyring().clone());
        let client = nats.main().await.client().clone();
        let verifier = Passwords::new().unwrap().hash(PASSWORD.to_owned().into()).await.unwrap();
        let start = clock::now().millis() - i64::try_from(ago.as_millis()).unwrap();
        Self {
            publisher: Publisher::open(client, codec, end).await,
            log,
            verifier,
            machines: Vec::new(),
            people: 0,
            reports: 0,
            now: Timestamp::from_millis(start),
            pace,
        }
    }

    /// The log.
    pub fn log(&self) -> &JetStreamLog {
        &self.log
    }

    /// The last sequence.
    pub fn end(&self) -> u64 {
        self.publisher.end()
    }

    /// Registers connected backends, which instances need.
    pub async fn machines(&mut self, count: usize, max_containers: u32) -> Vec<BackendId> {
        let first = self.machines.len() + 1;
        for n in first..first + count {
            let id = BackendId::from_uuid(clock::fresh_uuid());
            let name: Username = format!("machine-{n}").parse().unwrap();
            let details = Enrolled {
                username: name.clone().into(),
                password_verifier: self.verifier.clone().into(),
                lab_name: None,
                operating_system: None,
                max_containers,
                key_version: 1,
                awaits_approval: false,
                token: None,
            };
            let claim = self.log.keyring().claim(ClaimKind::Backend, name.as_str());
            let (mut machine, mut sessions) = (Backend::default(), Sessions::default());
            self.decide(claim, &mut Claim::default(), Actor::Anonymous, &TakeClaim { owner: id.into() });
            self.decide(id, &mut machine, Actor::Anonymous, &EnrolBackend(details));
            let start = self.session();
            self.decide(id.into(), &mut sessions, Actor::Anonymous, &start);
            let (runtime, agent_version) = ("simulated".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
            let connected = Connected { address: "127.0.0.1".to_owned().into(), runtime, agent_version };
            self.decide(id, &mut machine, Actor::System, &MarkConnected(connected));
            self.machines.push(Candidate::new(id, max_containers));
            self.publisher.send_full_batch().await;
        }
        self.publisher.finish().await;
        self.machines[first - 1..].iter().map(|machine| machine.backend_id).collect()
    }

    /// Seeds this many users. Some also had a create refused by a backend, deleted an instance, or signed out.
    pub async fn people(&mut self, count: usize, plan: Plan) -> Vec<Person> {
        let mut people = Vec::with_capacity(count);
        while people.len() < count {
            people.extend(self.generation((count - people.len()).min(CONCURRENT_USERS), plan).await);
        }
        self.publisher.finish().await;
        people
    }

    /// Seeds users until the log has at least this many events.
    pub async fn people_until(&mut self, events: u64, plan: Plan) -> Vec<Person> {
        let mut people = Vec::new();
        while self.end() < events {
            people.extend(self.generation(CONCURRENT_USERS, plan).await);
        }
        self.publisher.finish().await;
        people
    }

    /// Seeds one user whose tenancy has exactly this many events: one instance, stopped and resumed repeatedly. The number
    /// must be even; a multiple of four ends with the instance stopped, others with it running.
    pub async fn busy_person(&mut self, events: usize) -> Person {
        assert!(events >= 2 && events.is_multiple_of(2), "an even number of events is needed");
        let mut life = Life::begin(self);
        life.create(self);
        for n in 0..events / 2 - 1 {
            life.change(self, !n.is_multiple_of(2));
            self.publisher.send_full_batch().await;
        }
        self.publisher.finish().await;
        life.person()
    }

    /// Seeds users whose steps are interleaved.
    async fn generation(&mut self, count: usize, plan: Plan) -> Vec<Person> {
        let mut lives: Vec<_> = (0..count).map(|_| Life::begin(self)).collect();
        for step in 0..person::steps(plan) {
            for life in &mut lives {
                life.step(self, plan, step);
            }
            self.publisher.send_full_batch().await;
        }
        lives.into_iter().map(Life::person).collect()
    }

    /// Executes a command and appends its event.
    fn decide<C: Command>(
        &mut self,
        id: <C::Aggregate as Aggregate>::Id,
        state: &mut C::Aggregate,
        actor: Actor,
        command: &C,
    ) -> <C::Aggregate as Aggregate>::Event {
        let event = command.decide(state).unwrap().expect("the command yields an event");
        self.now = self.now.after(self.pace).min(clock::now());
        let meta = Meta { id: EventId::from_uuid(clock::fresh_uuid()), time: self.now };
        state.evolve(&event, &meta);
        let origin = Origin::new(actor, "request:seed");
        self.publisher.push(Envelope {
            aggregate: C::Aggregate::subject(id),
            meta,
            origin,
            event: event.clone().into(),
        });
        event
    }

    fn session(&self) -> StartSession {
        let expires_at = self.now.after(Duration::from_secs(24 * 60 * 60));
        StartSession(Started {
            session_id: SessionId::from_uuid(clock::fresh_uuid()),
            expires_at,
            token: None,
            client: None,
            refresh_until: None,
        })
    }

    fn facts(&self) -> Facts {
        Facts { now: self.now, policy: Policy::default(), candidates: self.machines.clone(), tie_breaker: self.end() }
    }
}

//! A log with a past: machines, people and their instances, as many as a test or a bench wants, fast.
//!
//! In: a broker that no server uses yet, and how many. Out: events that the rules themselves decided, so that whatever
//! reads the log (servers, `verify`, `rebuild`, the checker) finds nothing odd in it, and people who can sign in with
//! [`PASSWORD`]. Every deadline is met: nothing is left to be done. Start the broker with
//! [`Nats::start_unsynced`](crate::Nats::start_unsynced) to seed much, and then `reopen` it as it should be.

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

/// Everybody's password.
pub const PASSWORD: &str = "correct horse";
/// People whose events mix in the log.
const AT_ONCE: usize = 64;

/// What people do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Instances that each has, and that run in the end.
    pub instances: usize,
    /// How often each of them is stopped and resumed (four events each time).
    pub cycles: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { instances: 3, cycles: 2 }
    }
}

/// Somebody with an account.
#[derive(Debug, Clone)]
pub struct Person {
    pub id: UserId,
    /// What they sign in with, besides [`PASSWORD`].
    pub name: Username,
    /// Those that run.
    pub instances: Vec<InstanceId>,
}

/// Writes pasts. Nobody else may write to the log meanwhile.
pub struct Seed {
    log: JetStreamLog,
    publisher: Publisher,
    verifier: String,
    machines: Vec<Candidate>,
    people: usize,
    reports: u64,
    now: Timestamp,
    /// Time between two events.
    pace: Duration,
}

impl Seed {
    /// The past begins `ago`, and has an event every `pace` until it has come to the present; then all are of now.
    /// The rules forget what was settled seven days before: how much a busy tenancy holds depends on the pace.
    pub async fn open(nats: &Nats, ago: Duration, pace: Duration) -> Self {
        let log = nats.log().await;
        let end = log.end(Filter::All).await.unwrap();
        let codec = Codec::new(log.keyring().clone());
        let client = nats.main().await.client().clone();
        let verifier = Passwords::new().unwrap().hash(PASSWORD.to_owned().into()).await.unwrap();
        let began = clock::now().millis() - i64::try_from(ago.as_millis()).unwrap();
        Self {
            publisher: Publisher::open(client, codec, end).await,
            log,
            verifier,
            machines: Vec::new(),
            people: 0,
            reports: 0,
            now: Timestamp::from_millis(began),
            pace,
        }
    }

    /// The log that is written to.
    pub fn log(&self) -> &JetStreamLog {
        &self.log
    }

    /// The last sequence so far.
    pub fn end(&self) -> u64 {
        self.publisher.end()
    }

    /// Registers machines that were heard once; needed before anybody has instances.
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
            };
            let claim = self.log.keyring().claim(ClaimKind::Backend, name.as_str());
            let (mut machine, mut sessions) = (Backend::default(), Sessions::default());
            self.decide(claim, &mut Claim::default(), Actor::Anonymous, &TakeClaim { owner: id.into() });
            self.decide(id, &mut machine, Actor::Anonymous, &EnrolBackend(details));
            let start = self.session();
            self.decide(id.into(), &mut sessions, Actor::Anonymous, &start);
            let (runtime, agent_version) = ("simulated".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
            let heard = Connected { address: "127.0.0.1".to_owned().into(), runtime, agent_version };
            self.decide(id, &mut machine, Actor::System, &MarkConnected(heard));
            self.machines.push(Candidate::new(id, max_containers));
            self.publisher.breathe().await;
        }
        self.publisher.finish().await;
        self.machines[first - 1..].iter().map(|machine| machine.backend_id).collect()
    }

    /// So many people who do as planned. Some also tried another machine first, deleted an instance, or signed out
    /// somewhere.
    pub async fn people(&mut self, count: usize, plan: Plan) -> Vec<Person> {
        let mut people = Vec::with_capacity(count);
        while people.len() < count {
            people.extend(self.generation((count - people.len()).min(AT_ONCE), plan).await);
        }
        self.publisher.finish().await;
        people
    }

    /// As many people as it takes until the log has at least this many events.
    pub async fn people_until(&mut self, events: u64, plan: Plan) -> Vec<Person> {
        let mut people = Vec::new();
        while self.end() < events {
            people.extend(self.generation(AT_ONCE, plan).await);
        }
        self.publisher.finish().await;
        people
    }

    /// One person whose tenancy has exactly this many events: an instance that is stopped and resumed, over and over.
    /// Needs an even number, so that it is settled in the end: stopped if four divides it, else running.
    pub async fn busy_person(&mut self, events: usize) -> Person {
        assert!(events >= 2 && events.is_multiple_of(2), "a settled tenancy has an even number of events");
        let mut life = Life::begin(self);
        life.create(self);
        for n in 0..events / 2 - 1 {
            life.change(self, !n.is_multiple_of(2));
            self.publisher.breathe().await;
        }
        self.publisher.finish().await;
        life.person()
    }

    /// People who live at the same time: one does a thing, then the next.
    async fn generation(&mut self, count: usize, plan: Plan) -> Vec<Person> {
        let mut lives: Vec<_> = (0..count).map(|_| Life::begin(self)).collect();
        for step in 0..person::steps(plan) {
            for life in &mut lives {
                life.step(self, plan, step);
            }
            self.publisher.breathe().await;
        }
        lives.into_iter().map(Life::person).collect()
    }

    /// Decides by the rules, and records what was decided.
    fn decide<C: Command>(
        &mut self,
        id: <C::Aggregate as Aggregate>::Id,
        state: &mut C::Aggregate,
        actor: Actor,
        command: &C,
    ) -> <C::Aggregate as Aggregate>::Event {
        let event = command.decide(state).unwrap().expect("what is asked for changes something");
        self.now = self.now.after(self.pace).min(clock::now());
        let meta = Meta { id: EventId::from_uuid(clock::fresh_uuid()), time: self.now };
        state.evolve(&event, &meta);
        let origin = Origin { actor, cause: "request:seed".to_owned(), trace_parent: None };
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
        StartSession(Started { session_id: SessionId::from_uuid(clock::fresh_uuid()), expires_at })
    }

    fn facts(&self) -> Facts {
        Facts { now: self.now, policy: Policy::default(), candidates: self.machines.clone(), tie_breaker: self.end() }
    }
}

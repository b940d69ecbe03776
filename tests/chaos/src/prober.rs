//! Probes: at each replica, four clients find out every quarter of a second what works there: a write is stored, a read is
//! answered, a command is carried out, `/health` is well. From them follow the availability, the time to heal, and whether
//! `/health` tells the truth.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::history::{Kind, Operation, OutcomeClass, Recorder};
use crate::person::Person;
use crate::request::Request;

/// Between two probes of one kind.
const PERIOD: Duration = Duration::from_millis(250);
/// After so many changes a probe uses a new instance, so that none has too many states.
const MAX_CHANGES: usize = 120;

/// What a probe finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// A command is stored.
    Stored,
    /// A query is answered.
    Read,
    /// A command is carried out.
    CarriedOut,
    /// `/health` is well.
    Health,
}

impl Probe {
    pub const ALL: [Self; 4] = [Self::Stored, Self::Read, Self::CarriedOut, Self::Health];

    const fn word(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Read => "read",
            Self::CarriedOut => "carried-out",
            Self::Health => "health",
        }
    }

    /// The client's name in the history.
    #[must_use]
    pub fn client(self, replica: usize) -> String {
        format!("probe-{}-{replica}", self.word())
    }

    /// The probe that sent this request, if one did. Its own sign-ups and instances are not probes.
    #[must_use]
    pub fn of(operation: &Operation) -> Option<Self> {
        let word = operation.client.strip_prefix("probe-")?;
        let probe =
            Self::ALL.into_iter().find(|probe| word.strip_prefix(probe.word()).is_some_and(|n| n.starts_with('-')))?;
        let is_probe = match probe {
            Self::Stored | Self::CarriedOut => matches!(operation.kind, Kind::Stop | Kind::Resume),
            Self::Read => operation.kind == Kind::List,
            Self::Health => operation.kind == Kind::Health,
        };
        is_probe.then_some(probe)
    }

    /// Whether the response is a success.
    #[must_use]
    pub fn succeeded(self, operation: &Operation) -> bool {
        match self {
            Self::Stored | Self::Read => operation.class() == OutcomeClass::Done,
            Self::CarriedOut => operation.status() == Some(200),
            Self::Health => operation.status() == Some(200),
        }
    }
}

/// One probe at one replica.
pub struct Prober {
    probe: Probe,
    replica: usize,
    person: Person,
    instance: Option<String>,
    /// Whether the next change stops it.
    stops: bool,
    changes: usize,
    created: usize,
}

impl Prober {
    #[must_use]
    pub fn new(probe: Probe, replica: usize, urls: &[String], recorder: &Recorder) -> Self {
        let name = probe.client(replica);
        recorder.add_probe(&name);
        if probe == Probe::Health {
            recorder.add_health(replica);
        }
        // The readers read what the writers of their replica have.
        let owner = if probe == Probe::Read { Probe::Stored } else { probe };
        Self {
            probe,
            replica,
            person: Person::new((name, owner.client(replica)), (replica, &urls[replica]), recorder),
            instance: None,
            stops: true,
            changes: 0,
            created: 0,
        }
    }

    /// Probes until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.step().await;
        }
    }

    async fn step(&mut self) {
        if self.probe == Probe::Health {
            let begun = self.person.recorder.now();
            let answer = self.person.send(Request::health()).await;
            if let Some(answer) = answer.filter(|answer| answer.status == 200) {
                self.person.recorder.succeeded(&self.person.name, begun);
                if answer.body["status"] == "healthy" {
                    self.person.recorder.said_healthy(self.replica, begun);
                }
            }
            return;
        }
        if !self.person.is_signed_in() {
            // The readers' account is made by the writers.
            return self.person.sign_in(self.probe != Probe::Read).await;
        }
        if self.probe == Probe::Read {
            let begun = self.person.recorder.now();
            let answer = self.person.send(Request::list()).await;
            if answer.is_some_and(|answer| answer.status == 200) {
                self.person.recorder.succeeded(&self.person.name, begun);
            }
            return;
        }
        if self.instance.is_none() || self.changes >= MAX_CHANGES {
            self.replace_instance().await;
        }
        if let Some(instance) = self.instance.clone() {
            self.change(&instance).await;
        }
    }

    async fn change(&mut self, instance: &str) {
        let kind = if self.stops { Kind::Stop } else { Kind::Resume };
        let prefer = if self.probe == Probe::Stored { "respond-async" } else { "wait=8" };
        let begun = self.person.recorder.now();
        let Some(answer) = self.person.send(Request::change(kind, instance, prefer)).await else { return };
        if matches!(answer.status, 200 | 202) {
            self.stops = !self.stops;
            self.changes += 1;
        }
        if answer.status == 200 || (answer.status == 202 && self.probe == Probe::Stored) {
            self.person.recorder.succeeded(&self.person.name, begun);
        }
        let is_spent = ["not_found", "instance_failed", "instance_deleting", "operation_failed", "backend_draining"];
        if is_spent.contains(&answer.code()) {
            self.changes = MAX_CHANGES;
        }
    }

    /// Creates a new instance, then deletes the old one.
    async fn replace_instance(&mut self) {
        let key = format!("{}-{}", self.person.name, self.created);
        let answer = self.person.send(Request::create(Some(key), "wait=8")).await;
        let Some(answer) = answer.filter(|answer| answer.status < 500 || answer.code() == "operation_failed") else {
            return;
        };
        // Known: the next one gets a new key.
        self.created += 1;
        if let Some(id) = answer.data()["instanceId"].as_str() {
            let old = self.instance.replace(id.to_owned());
            (self.stops, self.changes) = (true, 0);
            if let Some(old) = old {
                self.person.send(Request::change(Kind::Delete, &old, "respond-async")).await;
            }
        } else if let Some(failed) = answer.body["error"]["details"]["instanceId"].as_str() {
            let failed = failed.to_owned();
            self.person.send(Request::change(Kind::Delete, &failed, "respond-async")).await;
        }
    }
}

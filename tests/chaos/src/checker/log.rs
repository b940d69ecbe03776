//! The log, decoded and indexed by subject and request, with the states of each instance. Finds unreadable and unordered
//! events.

use std::collections::BTreeMap;

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::envelope::{Envelope, RecordedEvent, header, read};
use dockhost_domain::event::{Encoded, Event};
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::subject::{AggregateId, BARRIER};
use dockhost_domain::tenancy::{Instance, Tenancy};

use super::{Invariant, Violations};
use crate::observation::{Entry, Observation};

/// The header with an append's expectation: the subject's last sequence.
pub const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    pub events: Vec<Logged>,
    by_request: BTreeMap<String, Vec<usize>>,
    by_subject: BTreeMap<AggregateId, Vec<usize>>,
    instances: BTreeMap<InstanceId, Timeline>,
}

/// One event.
#[derive(Debug)]
pub struct Logged {
    pub recorded: RecordedEvent,
    /// `ce-type`.
    pub kind: String,
    /// The body, as JSON.
    pub data: serde_json::Value,
    /// The append's expectation, if recorded.
    pub expected: Option<u64>,
}

impl Logged {
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.recorded.sequence
    }
}

/// The states of an instance.
#[derive(Debug)]
pub struct Timeline {
    pub user: UserId,
    /// Each state with the sequence of its event.
    pub states: Vec<(u64, Instance)>,
}

impl Timeline {
    /// The state at `sequence`.
    #[must_use]
    pub fn at(&self, sequence: u64) -> Option<&Instance> {
        self.states.iter().rev().find(|(begun, _)| *begun <= sequence).map(|(_, state)| state)
    }

    /// The last state.
    #[must_use]
    pub fn last(&self) -> Option<&Instance> {
        self.states.last().map(|(_, state)| state)
    }
}

impl Log {
    /// Decodes the log.
    pub fn read(observation: &Observation, violations: &mut Violations) -> Self {
        let mut log = Self::default();
        let mut ids = BTreeMap::new();
        let mut last = 0;
        for entry in &observation.log {
            if entry.sequence != last + 1 {
                let what = format!("the log goes from sequence {last} to {}", entry.sequence);
                violations.add(Invariant::I1, what, [&entry.subject], [last, entry.sequence]);
            }
            last = entry.sequence;
            if entry.subject == BARRIER {
                continue;
            }
            match decode(entry) {
                Ok(logged) => {
                    let id = logged.recorded.envelope.meta.id;
                    if let Some(first) = ids.insert(id, entry.sequence) {
                        let what = "one event is in the log twice";
                        violations.add(Invariant::I1, what, [id.to_string()], [first, entry.sequence]);
                    }
                    log.add(logged);
                }
                Err(why) => {
                    violations.add(
                        Invariant::I4,
                        format!("unreadable event: {why}"),
                        [&entry.subject],
                        [entry.sequence],
                    );
                }
            }
        }
        log.replay_instances();
        log
    }

    fn add(&mut self, logged: Logged) {
        let index = self.events.len();
        let envelope = &logged.recorded.envelope;
        if let Some(request) = envelope.origin.cause.strip_prefix("request:") {
            self.by_request.entry(request.to_owned()).or_default().push(index);
        }
        self.by_subject.entry(envelope.aggregate).or_default().push(index);
        self.events.push(logged);
    }

    fn replay_instances(&mut self) {
        let mut tenancies: BTreeMap<UserId, Tenancy> = BTreeMap::new();
        for logged in &self.events {
            let Envelope { aggregate, meta, event, .. } = &logged.recorded.envelope;
            let (AggregateId::Tenancy(user), Event::Tenancy(event)) = (aggregate, event) else { continue };
            let tenancy = tenancies.entry(*user).or_default();
            tenancy.evolve(event, meta);
            let Some(id) = event.instance_id() else { continue };
            if let Some(state) = tenancy.instance(id) {
                let timeline = self.instances.entry(id).or_insert_with(|| Timeline { user: *user, states: Vec::new() });
                timeline.states.push((logged.sequence(), state.clone()));
            }
        }
    }

    /// The sequence of the last event.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.events.last().map_or(0, Logged::sequence)
    }

    /// The events of a request, in order.
    pub fn caused_by(&self, request: &str) -> impl Iterator<Item = &Logged> {
        self.by_request.get(request).into_iter().flatten().map(|index| &self.events[*index])
    }

    /// Each aggregate's events, in order.
    pub fn aggregates(&self) -> impl Iterator<Item = (AggregateId, Vec<&Logged>)> {
        self.by_subject.iter().map(|(id, indices)| (*id, indices.iter().map(|index| &self.events[*index]).collect()))
    }

    /// One aggregate's events, in order.
    pub fn of(&self, aggregate: AggregateId) -> impl Iterator<Item = &Logged> {
        self.by_subject.get(&aggregate).into_iter().flatten().map(|index| &self.events[*index])
    }

    /// All instances, including deleted ones.
    #[must_use]
    pub const fn instances(&self) -> &BTreeMap<InstanceId, Timeline> {
        &self.instances
    }

    /// One instance.
    #[must_use]
    pub fn instance(&self, id: InstanceId) -> Option<&Timeline> {
        self.instances.get(&id)
    }

    /// The sequence of the last event of a kind of aggregate.
    #[must_use]
    pub fn last_of(&self, kind: &str) -> u64 {
        let last = self.events.iter().rfind(|logged| logged.recorded.envelope.aggregate.kind() == kind);
        last.map_or(0, Logged::sequence)
    }
}

fn decode(entry: &Entry) -> Result<Logged, String> {
    let aggregate: AggregateId = entry.subject.parse().map_err(|error| format!("{error}"))?;
    let get = |name: &'static str| entry.headers.get(name).map(String::as_str);
    if get(header::SUBJECT) != Some(entry.subject.as_str()) {
        return Err(format!("its envelope has the subject {:?}", get(header::SUBJECT)));
    }
    let (meta, origin, kind) = read(get).map_err(|error| error.to_string())?;
    let data = entry.data.clone().ok_or("its body could not be decrypted")?;
    let event = Event::decode(&aggregate, Encoded { kind: kind.clone(), data: data.clone() });
    let event = event.map_err(|error| error.to_string())?;
    let expected = entry.headers.get(EXPECTED).and_then(|text| text.parse().ok());
    let envelope = Envelope { aggregate, meta, origin, event };
    Ok(Logged { recorded: RecordedEvent { sequence: entry.sequence, envelope }, kind, data, expected })
}

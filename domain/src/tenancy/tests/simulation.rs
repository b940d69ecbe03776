//! A simulation of one tenancy in which any action may happen in any order.
//!
//! Actions are random: requests, reports (new, delayed, repeated; from any backend, about any placement and
//! generation), timers, lost backends, time. Beside the tenancy, the simulation folds what a reader of the events alone
//! would know. Actions refer to instances and reports by small numbers that are valid in any state, so that shrinking
//! works.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;

use super::fixtures::*;
use crate::aggregate::{Aggregate, Command, Meta};
use crate::group::GroupLimits;
use crate::ids::{BackendId, InstanceId};
use crate::quota::Quota;
use crate::tenancy::event::*;
use crate::tenancy::{
    ChangeInstance, ChangeSettings, EndLifetime, Facts, HandleBackendLost, HandleBackendRemoved, HandleDeadline,
    HandleReport, Instance, MoveInstance, Occasion, Policy, ReportRejected, RequestInstance, SshSeen, Tenancy,
};
use crate::testing::{at, event_id, user};
use crate::timestamp::Timestamp;
use crate::wire::{DesiredState, Observation, Phase, Report, ReportKind, RestartPolicy};

pub const BACKENDS: [BackendId; 3] = [A, B, C];
/// The names that instances are given.
const NAMES: [&str; 3] = ["web", "db", "ci"];

/// The placement or generation in a report or timer.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// The instance's current one.
    Current,
    Any(u32),
}

/// The backend that an action concerns.
#[derive(Debug, Clone, Copy)]
pub enum Backend {
    /// The backend of the instance's current placement.
    Current,
    /// An index into [`BACKENDS`].
    Any(usize),
}

/// An action. `which` is the number of an instance in order of creation, modulo one more than exist.
#[derive(Debug, Clone)]
pub enum Action {
    Request {
        name: Option<usize>,
        key: Option<usize>,
        body: usize,
        quota: Option<u32>,
        on_lost: OnLost,
        autostop: Option<u32>,
    },
    Change {
        which: usize,
        to: DesiredState,
    },
    Report {
        which: usize,
        by: Backend,
        placement: Number,
        generation: Number,
        kind: ReportKind,
        /// Whether it is delivered only by [`Action::Redeliver`].
        delayed: bool,
    },
    /// Delivers an earlier report, counted from the last one.
    Redeliver {
        back: usize,
    },
    Timer {
        which: usize,
        generation: Number,
        early: bool,
    },
    Lost {
        which: usize,
        on: Backend,
    },
    /// The backend is lost since the start.
    Move {
        which: usize,
        on: Backend,
    },
    Removed {
        which: usize,
        on: Backend,
    },
    Settings {
        which: usize,
        name: Option<usize>,
        on_lost: OnLost,
        /// Seconds from now.
        expires_in: Option<i64>,
        autostop: Option<u32>,
    },
    EndLifetime {
        which: usize,
        /// Seconds since its agent last saw a connection, if it sees any.
        connected_ago: Option<i64>,
    },
    Wait {
        seconds: i64,
    },
}

/// An action, and the facts that the deciding replica knows.
#[derive(Debug, Clone)]
pub struct Step {
    action: Action,
    /// The error of the replica's clock, in seconds.
    skew: i64,
    /// Whether each backend is connected, and whether it is full.
    connected: [bool; 3],
    full: [bool; 3],
    tie_breaker: u64,
}

/// Derives choices from one random number, which proptest generates far faster than a tree of strategies. The number 0
/// always yields the simplest choice.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u8) -> u8 {
        let sides = u64::from(sides);
        let rolled = self.0 % sides;
        self.0 /= sides;
        u8::try_from(rolled).unwrap()
    }

    fn index(&mut self, sides: u8) -> usize {
        self.roll(sides).into()
    }

    fn once_in(&mut self, times: u8) -> bool {
        self.roll(times) == times - 1
    }

    fn option(&mut self, sides: u8) -> Option<usize> {
        self.index(sides + 1).checked_sub(1)
    }

    fn phase(&mut self) -> Phase {
        [Phase::Running, Phase::Stopped][self.index(2)]
    }

    fn report_kind(&mut self) -> ReportKind {
        let container_id = format!("c{}", self.roll(2)).parse().unwrap();
        let observed = Observation { container_id, ..observation(self.phase()) };
        let code = ["no_ports", "container_gone"][self.index(2)];
        match self.roll(9) {
            0..=2 => ReportKind::InstanceStatus(observed),
            3..=4 => ReportKind::InstanceCreated(observed),
            5..=6 => ReportKind::InstanceDeleted,
            7 => agent_refused(code),
            _ => agent_failed(code),
        }
    }

    fn number(&mut self) -> Number {
        self.roll(24).checked_sub(18).map_or(Number::Current, |n| Number::Any(n.into()))
    }

    fn backend(&mut self) -> Backend {
        self.index(12).checked_sub(9).map_or(Backend::Current, Backend::Any)
    }

    fn action(&mut self, kind: u8, which: usize) -> Action {
        match kind {
            0..=2 => {
                let (name, key, body) = (self.option(3), self.option(2), self.index(2));
                let quota = self.option(4).and_then(|n| u32::try_from(n).ok());
                Action::Request {
                    name,
                    key,
                    body,
                    quota,
                    on_lost: [OnLost::Wait, OnLost::Recreate][self.index(2)],
                    autostop: [None, Some(5)][self.index(2)],
                }
            }
            3..=5 => Action::Change {
                which,
                to: [DesiredState::Running, DesiredState::Stopped, DesiredState::Deleted][self.index(3)],
            },
            6..=13 => {
                let (by, placement, generation) = (self.backend(), self.number(), self.number());
                let (kind, delayed) = (self.report_kind(), self.once_in(10));
                Action::Report { which, by, placement, generation, kind, delayed }
            }
            14..=15 => Action::Redeliver { back: self.index(8) },
            16..=18 => Action::Timer { which, generation: self.number(), early: self.once_in(3) },
            19 => Action::Lost { which, on: self.backend() },
            20 => Action::Removed { which, on: self.backend() },
            21 => Action::Move { which, on: self.backend() },
            22 => Action::Settings {
                which,
                name: self.option(3),
                on_lost: [OnLost::Wait, OnLost::Recreate][self.index(2)],
                expires_in: [Some(30), Some(100_000), None, Some(-1)][self.index(4)],
                autostop: [None, Some(5)][self.index(2)],
            },
            23 => Action::EndLifetime { which, connected_ago: [Some(0), None, Some(600)][self.index(3)] },
            _ => Action::Wait { seconds: [1, 20, 60, 8 * 24 * 60 * 60][self.index(4)] },
        }
    }
}

/// Up to 40 steps.
pub fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0_u8..25, 0_usize..5, any::<u64>()).prop_map(|(kind, which, number)| {
        let mut dice = Dice(number);
        Step {
            action: dice.action(kind, which),
            skew: [0, 1, -1, 2, -2][dice.index(5)],
            connected: [(); 3].map(|()| !dice.once_in(5)),
            full: [(); 3].map(|()| dice.once_in(5)),
            tie_breaker: dice.roll(6).into(),
        }
    });
    prop::collection::vec(step, 0..40)
}

/// The result of an action that decided a command.
#[derive(Debug)]
pub struct Decision {
    /// The instance; a new one after a request.
    pub instance: InstanceId,
    /// The event, if any.
    pub event: Option<TenancyEvent>,
    /// The debug form of the rejection, if any.
    pub rejected: Option<String>,
    /// The report that was handled, if any.
    pub report: Option<Rc<HandleReport>>,
    /// The backend and the number of the instance's placement before.
    pub placement_before: Option<(BackendId, u32)>,
}

/// The tenancy, and what its events alone say.
#[derive(Debug, Clone, Default)]
pub struct Simulation {
    pub tenancy: Tenancy,
    /// All events.
    pub history: Vec<(TenancyEvent, Meta)>,
    /// Each instance folded alone and without retention, as in the read model.
    pub folded: BTreeMap<InstanceId, Instance>,
    /// The instances that use capacity on a backend, as in the replica's fleet.
    pub occupied: BTreeSet<(BackendId, InstanceId)>,
    /// The number of instances ever requested.
    pub requested: usize,
    reports: Vec<Rc<HandleReport>>,
    /// Seconds since the start.
    pub now: i64,
    events: u128,
}

impl Simulation {
    /// Runs all steps, with a check after each decision.
    pub fn run(
        steps: &[Step],
        mut check: impl FnMut(&Self, &Decision) -> Result<(), TestCaseError>,
    ) -> Result<Self, TestCaseError> {
        let mut simulation = Self::default();
        for step in steps {
            if let Some(decision) = simulation.step(step) {
                check(&simulation, &decision)?;
            }
        }
        Ok(simulation)
    }

    /// All instances ever requested.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (1..=self.requested as u128).map(instance)
    }

    /// The position of the next report.
    pub fn next_position(&self) -> ReportPosition {
        position(self.reports.len() as u64 + 1)
    }

    /// Decides a command and applies its event.
    pub fn decide<C: Command<Aggregate = Tenancy>>(
        &mut self,
        command: &C,
    ) -> Result<Option<TenancyEvent>, C::Rejection> {
        let event = command.decide(&self.tenancy)?;
        if let Some(event) = &event {
            self.events += 1;
            self.record(event, &Meta { id: event_id(self.events), time: at(self.now) });
        }
        Ok(event)
    }

    /// Handles a report that is newer than all others.
    pub fn report(&mut self, backend_id: BackendId, report: Report) -> Result<Option<TenancyEvent>, ReportRejected> {
        let command = HandleReport { backend_id, report, position: self.next_position(), facts: facts(self.now) };
        self.reports.push(command.clone().into());
        self.decide(&command)
    }

    fn record(&mut self, event: &TenancyEvent, meta: &Meta) {
        self.tenancy.evolve(event, meta);
        self.history.push((event.clone(), *meta));
        let Some(id) = event.instance_id() else { return };
        match event {
            TenancyEvent::Requested(e) => drop(self.folded.insert(id, Instance::requested(e, meta))),
            event => self.folded.get_mut(&id).unwrap().evolve(event, meta),
        }
        match event {
            TenancyEvent::Requested(e) => drop(self.occupied.insert((e.choice.backend_id, id))),
            TenancyEvent::Placed(e) => drop(self.occupied.insert((e.choice.backend_id, id))),
            TenancyEvent::Moved(e) => drop(self.occupied.insert((e.choice.backend_id, id))),
            TenancyEvent::Released(e) => drop(self.occupied.remove(&(e.backend_id, id))),
            TenancyEvent::Deleted(Deleted { outcome: DeletionOutcome::Confirmed { backend_id }, .. }) => {
                self.occupied.remove(&(*backend_id, id));
            }
            _ => {}
        }
    }

    fn step(&mut self, step: &Step) -> Option<Decision> {
        let skewed = |seconds: i64| at((seconds + step.skew).max(0));
        let facts = |now: Timestamp| Facts {
            now,
            policy: Policy::default(),
            candidates: (0..3)
                .map(|n| candidate(BACKENDS[n]).connected(step.connected[n]).used(if step.full[n] { 4 } else { 0 }))
                .collect(),
            tie_breaker: step.tie_breaker,
        };
        match &step.action {
            Action::Request { name, key, body, quota, on_lost, autostop } => {
                let instance_id = instance(self.requested as u128 + 1);
                let command = RequestInstance {
                    name: name.map(|n| NAMES[n].parse().unwrap()),
                    restart: RestartPolicy::default(),
                    idempotency: key.map(|key| Idempotency { key: format!("k{key}"), request: format!("r{body}") }),
                    quota: Quota { instances: *quota, ..Quota::default() },
                    on_lost: *on_lost,
                    lifetime: Lifetime {
                        expires_at: None,
                        autostop_minutes: autostop.map(|minutes| minutes.try_into().unwrap()),
                    },
                    facts: facts(skewed(self.now)),
                    ..request(instance_id)
                };
                let decision = self.decision(instance_id, &command);
                self.requested += usize::from(decision.event.is_some());
                Some(decision)
            }
            Action::Change { which, to } => {
                let instance_id = self.nth(*which);
                let now = skewed(self.now);
                let command = ChangeInstance { instance_id, to: *to, now, policy: Policy::default() };
                Some(self.decision(instance_id, &command))
            }
            Action::Report { which, by, placement, generation, kind, delayed } => {
                let instance_id = self.nth(*which);
                let report = Report {
                    instance_id,
                    user_id: user(1),
                    placement: self.number(instance_id, *placement, |instance| instance.placement),
                    generation: self.number(instance_id, *generation, |instance| instance.generation),
                    kind: kind.clone(),
                };
                let (backend_id, position) = (self.backend(instance_id, *by), self.next_position());
                let facts = facts(skewed(self.now));
                self.reports.push(HandleReport { backend_id, report, position, facts }.into());
                if *delayed { None } else { self.deliver(0) }
            }
            Action::Redeliver { back } => self.deliver(*back),
            Action::Timer { which, generation, early } => {
                let instance_id = self.nth(*which);
                let generation = self.number(instance_id, *generation, |instance| instance.generation);
                let deadline = self.folded.get(&instance_id).and_then(Instance::deadline);
                let mut facts = facts(skewed(self.now));
                if let Some(deadline) = deadline.filter(|_| !early) {
                    self.now = self.now.max((deadline.millis() - at(0).millis()) / 1000 + 1);
                    facts.now = at(self.now);
                }
                Some(self.decision(instance_id, &HandleDeadline { instance_id, generation, facts }))
            }
            Action::Lost { which, on } => {
                let instance_id = self.nth(*which);
                let backend_id = self.backend(instance_id, *on);
                let facts = facts(skewed(self.now));
                Some(self.decision(instance_id, &HandleBackendLost { backend_id, instance_id, facts }))
            }
            Action::Move { which, on } => {
                let instance_id = self.nth(*which);
                let backend_id = self.backend(instance_id, *on);
                let (occasion, facts) = (Occasion::LostSince(at(0)), facts(skewed(self.now)));
                Some(self.decision(instance_id, &MoveInstance { backend_id, instance_id, occasion, facts }))
            }
            Action::Removed { which, on } => {
                let instance_id = self.nth(*which);
                let backend_id = self.backend(instance_id, *on);
                let facts = facts(skewed(self.now));
                Some(self.decision(instance_id, &HandleBackendRemoved { backend_id, instance_id, facts }))
            }
            Action::Settings { which, name, on_lost, expires_in, autostop } => {
                let instance_id = self.nth(*which);
                let expires_at = Some(expires_in.map(|seconds| at(self.now + seconds)));
                let autostop = Some(autostop.map(|minutes| minutes.try_into().unwrap()));
                let (on_lost, now) = (Some(*on_lost), skewed(self.now));
                let name = name.map(|n| NAMES[n].parse().unwrap());
                let command = ChangeSettings { instance_id, name, on_lost, expires_at, autostop, now };
                Some(self.decision(instance_id, &command))
            }
            Action::EndLifetime { which, connected_ago } => {
                let instance_id = self.nth(*which);
                let (group, now, policy) = (GroupLimits::default(), skewed(self.now), Policy::default());
                let seen = connected_ago.map(|seconds| SshSeen {
                    looked_at: now,
                    watched_since: at(0),
                    connected_at: Some(at((self.now - seconds).max(0))),
                });
                Some(self.decision(instance_id, &EndLifetime { instance_id, group, seen, now, policy }))
            }
            Action::Wait { seconds } => {
                self.now += seconds;
                None
            }
        }
    }

    fn deliver(&mut self, back: usize) -> Option<Decision> {
        let report = self.reports.iter().rev().nth(back)?.clone();
        let decision = self.decision(report.report.instance_id, &*report);
        Some(Decision { report: Some(report), ..decision })
    }

    fn decision<C: Command<Aggregate = Tenancy>>(&mut self, instance: InstanceId, command: &C) -> Decision {
        let placement_before = self
            .folded
            .get(&instance)
            .and_then(|instance| Some((instance.current_placement.as_ref()?.backend_id, instance.placement)));
        let (event, rejected) = match self.decide(command) {
            Ok(event) => (event, None),
            Err(rejection) => (None, Some(format!("{rejection:?}"))),
        };
        Decision { instance, event, rejected, report: None, placement_before }
    }

    fn nth(&self, which: usize) -> InstanceId {
        instance((which % (self.requested + 1)) as u128 + 1)
    }

    fn number(&self, of: InstanceId, number: Number, current: fn(&Instance) -> u32) -> u32 {
        match number {
            Number::Current => self.folded.get(&of).map_or(1, current),
            Number::Any(n) => n,
        }
    }

    fn backend(&self, of: InstanceId, backend: Backend) -> BackendId {
        match backend {
            Backend::Current => self
                .folded
                .get(&of)
                .and_then(|instance| instance.current_placement.as_ref())
                .map_or(A, |current| current.backend_id),
            Backend::Any(n) => BACKENDS[n],
        }
    }
}

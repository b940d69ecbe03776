//! A small world around one tenancy, in which anything may happen in any order.
//!
//! In: acts drawn at random: wishes, reports (new, held back, repeated; from any machine, about any placement and
//! generation), timers, lost machines, time. Out: the tenancy, and beside it what a reader of its events alone would
//! know. Acts name things by small numbers that always mean something, so that shrinking stays meaningful.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;

use super::build::*;
use crate::aggregate::{Aggregate, Command, Meta};
use crate::ids::{BackendId, InstanceId};
use crate::tenancy::event::*;
use crate::tenancy::{
    ChangeInstance, Facts, HandleBackendLost, HandleDeadline, HandleReport, Instance, Policy, ReportRejected,
    RequestInstance, Tenancy,
};
use crate::testing::{at, event_id, user};
use crate::timestamp::Timestamp;
use crate::wire::{DesiredState, Observation, Phase, Report, ReportKind};

pub const MACHINES: [BackendId; 3] = [A, B, C];

/// A number of an instance that a report or timer names.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// The one that it has now.
    Current,
    /// Any.
    Any(u32),
}

/// A machine that something is about.
#[derive(Debug, Clone, Copy)]
pub enum Machine {
    /// The one that holds the instance now.
    Holder,
    /// Any.
    Any(usize),
}

/// What may happen. Instances are named by their number of birth, modulo one more than there are.
#[derive(Debug, Clone)]
pub enum Act {
    Request {
        name: Option<usize>,
        key: Option<usize>,
        body: usize,
        quota: Option<u32>,
    },
    Change {
        which: usize,
        to: DesiredState,
    },
    Report {
        which: usize,
        by: Machine,
        placement: Number,
        generation: Number,
        news: ReportKind,
        held_back: bool,
    },
    /// A report that was made before is delivered (again), counted from the last one.
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
        on: Machine,
    },
    Pass {
        seconds: i64,
    },
}

/// An act, and how things are for the replica that decides on it.
#[derive(Debug, Clone)]
pub struct Scene {
    act: Act,
    /// By how many seconds its clock is off.
    skew: i64,
    /// Which machines are heard, and which of them are full.
    heard: [bool; 3],
    full: [bool; 3],
    turn: u64,
}

/// A number that is used up as things are chosen by it: one number a scene is drawn far faster than a tree of choices,
/// and 0 always chooses what is plain.
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

    /// Once in so many times.
    fn once_in(&mut self, times: u8) -> bool {
        self.roll(times) == times - 1
    }

    /// Nothing, or one of so many.
    fn option(&mut self, sides: u8) -> Option<usize> {
        self.index(sides + 1).checked_sub(1)
    }

    fn phase(&mut self) -> Phase {
        [Phase::Running, Phase::Stopped][self.index(2)]
    }

    fn news(&mut self) -> ReportKind {
        let seen = Observation { container_id: format!("c{}", self.roll(2)), ..container(self.phase()) };
        let code = ["no_ports", "container_gone"][self.index(2)];
        match self.roll(9) {
            0..=2 => ReportKind::InstanceStatus(seen),
            3..=4 => ReportKind::InstanceCreated(seen),
            5..=6 => ReportKind::InstanceDeleted,
            7 => refused(code),
            _ => could_not(code),
        }
    }

    fn number(&mut self) -> Number {
        self.roll(24).checked_sub(18).map_or(Number::Current, |n| Number::Any(n.into()))
    }

    fn machine(&mut self) -> Machine {
        self.index(12).checked_sub(9).map_or(Machine::Holder, Machine::Any)
    }

    fn act(&mut self, kind: u8, which: usize) -> Act {
        match kind {
            0..=2 => {
                let (name, key, body) = (self.option(3), self.option(2), self.index(2));
                Act::Request { name, key, body, quota: self.option(4).and_then(|n| u32::try_from(n).ok()) }
            }
            3..=5 => Act::Change {
                which,
                to: [DesiredState::Running, DesiredState::Stopped, DesiredState::Deleted][self.index(3)],
            },
            6..=13 => {
                let (by, placement, generation) = (self.machine(), self.number(), self.number());
                Act::Report { which, by, placement, generation, news: self.news(), held_back: self.once_in(10) }
            }
            14..=15 => Act::Redeliver { back: self.index(8) },
            16..=18 => Act::Timer { which, generation: self.number(), early: self.once_in(3) },
            19 => Act::Lost { which, on: self.machine() },
            _ => Act::Pass { seconds: [1, 20, 60, 8 * 24 * 60 * 60][self.index(4)] },
        }
    }
}

/// Up to 40 acts.
pub fn scenes() -> impl Strategy<Value = Vec<Scene>> {
    let scene = (0_u8..21, 0_usize..5, any::<u64>()).prop_map(|(kind, which, number)| {
        let mut dice = Dice(number);
        Scene {
            act: dice.act(kind, which),
            skew: [0, 1, -1, 2, -2][dice.index(5)],
            heard: [(); 3].map(|()| !dice.once_in(5)),
            full: [(); 3].map(|()| dice.once_in(5)),
            turn: dice.roll(6).into(),
        }
    });
    prop::collection::vec(scene, 0..40)
}

/// What came of an act.
#[derive(Debug)]
pub struct Happened {
    /// The instance that it was about; a new one if it was asked for.
    pub instance: InstanceId,
    /// What was decided.
    pub event: Option<TenancyEvent>,
    /// Or why not, in its debug form.
    pub rejected: Option<String>,
    /// The report, if it was one.
    pub report: Option<Rc<HandleReport>>,
    /// Which machine held the instance before, and its placement.
    pub held: Option<(BackendId, u32)>,
}

/// The tenancy, and what its events alone say.
#[derive(Debug, Clone, Default)]
pub struct World {
    pub tenancy: Tenancy,
    /// All that was recorded.
    pub past: Vec<(TenancyEvent, Meta)>,
    /// Each instance folded by itself, and never forgotten: the read model's way.
    pub folded: BTreeMap<InstanceId, Instance>,
    /// Which machine holds room for which instance: the placement's way.
    pub holds: BTreeSet<(BackendId, InstanceId)>,
    pub born: usize,
    reports: Vec<Rc<HandleReport>>,
    /// Seconds since the beginning.
    pub now: i64,
    events: u128,
}

impl World {
    /// Plays all of them, looking at the world after each.
    pub fn play(
        scenes: &[Scene],
        mut look: impl FnMut(&Self, &Happened) -> Result<(), TestCaseError>,
    ) -> Result<Self, TestCaseError> {
        let mut world = Self::default();
        for scene in scenes {
            if let Some(happened) = world.act(scene) {
                look(&world, &happened)?;
            }
        }
        Ok(world)
    }

    /// All instances that were ever asked for.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (1..=self.born as u128).map(instance)
    }

    /// The position of a report that comes after all others.
    pub fn next_position(&self) -> ReportPosition {
        position(self.reports.len() as u64 + 1)
    }

    /// Decides as the log would have it: what is decided is recorded.
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

    /// A machine reports, after all that was reported before.
    pub fn hear(&mut self, backend_id: BackendId, report: Report) -> Result<Option<TenancyEvent>, ReportRejected> {
        let received = HandleReport { backend_id, report, position: self.next_position(), facts: facts(self.now) };
        self.reports.push(received.clone().into());
        self.decide(&received)
    }

    fn record(&mut self, event: &TenancyEvent, meta: &Meta) {
        self.tenancy.evolve(event, meta);
        self.past.push((event.clone(), *meta));
        let Some(id) = event.instance_id() else { return };
        match event {
            TenancyEvent::Requested(e) => drop(self.folded.insert(id, Instance::requested(e, meta))),
            event => self.folded.get_mut(&id).unwrap().evolve(event, meta),
        }
        match event {
            TenancyEvent::Requested(e) => drop(self.holds.insert((e.choice.backend_id, id))),
            TenancyEvent::Placed(e) => drop(self.holds.insert((e.choice.backend_id, id))),
            TenancyEvent::Released(e) => drop(self.holds.remove(&(e.backend_id, id))),
            TenancyEvent::Deleted(Deleted { outcome: DeletionOutcome::Confirmed { backend_id }, .. }) => {
                self.holds.remove(&(*backend_id, id));
            }
            _ => {}
        }
    }

    fn act(&mut self, scene: &Scene) -> Option<Happened> {
        let skewed = |seconds: i64| at((seconds + scene.skew).max(0));
        let facts = |now: Timestamp| Facts {
            now,
            policy: Policy::default(),
            candidates: (0..3)
                .map(|n| candidate(MACHINES[n]).connected(scene.heard[n]).used(if scene.full[n] { 4 } else { 0 }))
                .collect(),
            tie_breaker: scene.turn,
        };
        match &scene.act {
            Act::Request { name, key, body, quota } => {
                let instance_id = instance(self.born as u128 + 1);
                let happened = self.outcome(
                    instance_id,
                    &RequestInstance {
                        name: name.map(|n| ["web", "db", "ci"][n].parse().unwrap()),
                        idempotency: key.map(|key| Idempotency { key: format!("k{key}"), request: format!("r{body}") }),
                        quota: *quota,
                        facts: facts(skewed(self.now)),
                        ..request(instance_id)
                    },
                );
                self.born += usize::from(happened.event.is_some());
                Some(happened)
            }
            Act::Change { which, to } => {
                let instance_id = self.named(*which);
                let now = skewed(self.now);
                let command = ChangeInstance { instance_id, to: *to, now, policy: Policy::default() };
                Some(self.outcome(instance_id, &command))
            }
            Act::Report { which, by, placement, generation, news, held_back } => {
                let instance_id = self.named(*which);
                let known = self.folded.get(&instance_id);
                let number = |number: Number, current: fn(&Instance) -> u32| match number {
                    Number::Current => known.map_or(1, current),
                    Number::Any(n) => n,
                };
                let report = Report {
                    instance_id,
                    user_id: user(1),
                    placement: number(*placement, |instance| instance.placement),
                    generation: number(*generation, |instance| instance.generation),
                    kind: news.clone(),
                };
                let (backend_id, position) = (self.machine(instance_id, *by), self.next_position());
                let facts = facts(skewed(self.now));
                self.reports.push(HandleReport { backend_id, report, position, facts }.into());
                if *held_back { None } else { self.deliver(0) }
            }
            Act::Redeliver { back } => self.deliver(*back),
            Act::Timer { which, generation, early } => {
                let instance_id = self.named(*which);
                let known = self.folded.get(&instance_id);
                let generation = match generation {
                    Number::Current => known.map_or(1, |instance| instance.generation),
                    Number::Any(n) => *n,
                };
                let deadline = known.and_then(Instance::deadline);
                let mut facts = facts(skewed(self.now));
                if let Some(deadline) = deadline.filter(|_| !early) {
                    self.now = self.now.max((deadline.millis() - at(0).millis()) / 1000 + 1);
                    facts.now = at(self.now);
                }
                Some(self.outcome(instance_id, &HandleDeadline { instance_id, generation, facts }))
            }
            Act::Lost { which, on } => {
                let instance_id = self.named(*which);
                let backend_id = self.machine(instance_id, *on);
                let facts = facts(skewed(self.now));
                Some(self.outcome(instance_id, &HandleBackendLost { backend_id, instance_id, facts }))
            }
            Act::Pass { seconds } => {
                self.now += seconds;
                None
            }
        }
    }

    fn deliver(&mut self, back: usize) -> Option<Happened> {
        let report = self.reports.iter().rev().nth(back)?.clone();
        let happened = self.outcome(report.report.instance_id, &*report);
        Some(Happened { report: Some(report), ..happened })
    }

    fn outcome<C: Command<Aggregate = Tenancy>>(&mut self, instance: InstanceId, command: &C) -> Happened {
        let held = self
            .folded
            .get(&instance)
            .and_then(|known| Some((known.current_placement.as_ref()?.backend_id, known.placement)));
        let (event, rejected) = match self.decide(command) {
            Ok(event) => (event, None),
            Err(rejection) => (None, Some(format!("{rejection:?}"))),
        };
        Happened { instance, event, rejected, report: None, held }
    }

    fn named(&self, which: usize) -> InstanceId {
        instance((which % (self.born + 1)) as u128 + 1)
    }

    fn machine(&self, of: InstanceId, machine: Machine) -> BackendId {
        match machine {
            Machine::Holder => self
                .folded
                .get(&of)
                .and_then(|instance| instance.current_placement.as_ref())
                .map_or(A, |site| site.backend_id),
            Machine::Any(n) => MACHINES[n],
        }
    }
}

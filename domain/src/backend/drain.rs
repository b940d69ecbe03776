//! Drains a backend: it is cordoned, and the leader stops its instances until the deadline. Or undoes that.

use serde::{Deserialize, Serialize};

use super::{Backend, BackendEvent, DrainCancelled, DrainEnded, DrainStarted, NotEnrolled};
use crate::aggregate::{Command, CommandClass};
use crate::timestamp::Timestamp;

/// A drain that was not undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// When it was requested.
    pub started_at: Timestamp,
    /// When the leader stops trying.
    pub deadline: Timestamp,
    /// Whether the backend is removed once it has no instances.
    pub retire: bool,
    /// Whether the backend was cordoned before, and so stays cordoned when the drain is undone.
    pub was_cordoned: bool,
    /// When nothing was left to stop, or the deadline passed.
    pub ended_at: Option<Timestamp>,
}

impl Drain {
    /// The drain that this event starts, in place of the one before; and whether the backend is cordoned at this moment.
    #[must_use]
    pub fn started(event: &DrainStarted, at: Timestamp, before: Option<Self>, is_cordoned: bool) -> Self {
        Self {
            started_at: at,
            deadline: event.deadline,
            retire: event.retire,
            was_cordoned: before.map_or(is_cordoned, |before| before.was_cordoned),
            ended_at: None,
        }
    }
}

/// Drain a backend; nothing if that is under way, unless it shall now be retired.
#[derive(Debug, Clone, Copy)]
pub struct StartDrain {
    /// Until when its instances must have stopped.
    pub deadline: Timestamp,
    /// Whether to remove it once it has no instances.
    pub retire: bool,
}

impl Command for StartDrain {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        let Self { deadline, retire } = *self;
        let is_under_way = machine.drain.is_some_and(|drain| drain.ended_at.is_none() && (drain.retire || !retire));
        Ok((!is_under_way).then_some(BackendEvent::DrainStarted(DrainStarted { deadline, retire })))
    }
}

/// Undo a drain; nothing if there is none. Instances that were stopped stay stopped.
#[derive(Debug, Clone, Copy)]
pub struct CancelDrain;

impl Command for CancelDrain {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        Ok(machine.drain.map(|_| BackendEvent::DrainCancelled(DrainCancelled {})))
    }
}

/// Record that the leader has ended a drain; nothing if it was ended or undone, or another one was started.
#[derive(Debug, Clone, Copy)]
pub struct EndDrain {
    /// When the drain was requested.
    pub started_at: Timestamp,
    /// How many instances have not stopped.
    pub left: u32,
}

impl Command for EndDrain {
    type Aggregate = Backend;
    type Rejection = NotEnrolled;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Backend) -> Result<Option<BackendEvent>, NotEnrolled> {
        let machine = state.machine.as_ref().ok_or(NotEnrolled)?;
        let is_this = |drain: &Drain| drain.started_at == self.started_at && drain.ended_at.is_none();
        let ended = BackendEvent::DrainEnded(DrainEnded { left: self.left });
        Ok(machine.drain.filter(is_this).map(|_| ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tests::enrolled;
    use crate::backend::{ChangeCordon, Cordoned, Uncordoned};
    use crate::testing::{at, given};

    fn start(retire: bool) -> StartDrain {
        StartDrain { deadline: at(100), retire }
    }

    fn started(retire: bool) -> BackendEvent {
        BackendEvent::DrainStarted(DrainStarted { deadline: at(100), retire })
    }

    const CANCELLED: BackendEvent = BackendEvent::DrainCancelled(DrainCancelled {});

    fn ended(left: u32) -> BackendEvent {
        BackendEvent::DrainEnded(DrainEnded { left })
    }

    #[test]
    fn drain_cordons_and_undrain_restores_what_was_before() {
        for (before, stays_cordoned) in
            [(vec![enrolled()], false), (vec![enrolled(), BackendEvent::Cordoned(Cordoned {})], true)]
        {
            let backend = given::<Backend>(before).when(start(false)).then(started(false));
            assert!(backend.state.machine.as_ref().unwrap().is_cordoned);
            // A second one must not forget it.
            let backend = backend.when(start(true)).then(started(true));
            let backend = backend.when(CancelDrain).then(CANCELLED).when(CancelDrain).then_nothing();
            let machine = backend.state.machine.unwrap();
            assert_eq!((machine.drain, machine.is_cordoned), (None, stays_cordoned));
        }
    }

    #[test]
    fn drain_that_is_under_way_is_not_started_again_but_can_become_a_retirement() {
        let backend = given([enrolled()]).when(start(false)).then(started(false)).when(start(false)).then_nothing();
        let backend = backend.when(start(true)).then(started(true)).when(start(true)).then_nothing();
        let backend = backend.when(start(false)).then_nothing();
        backend.and([ended(1)]).when(start(false)).then(started(false));
    }

    #[test]
    fn end_drain_concerns_the_drain_that_it_is_about() {
        let end = |started| EndDrain { started_at: at(started), left: 3 };
        let backend = given([enrolled()]).when(end(2)).then_nothing().and([started(false)]);
        let backend = backend.when(end(1)).then_nothing().when(end(2)).then(ended(3)).when(end(2)).then_nothing();
        let machine = backend.state.machine.as_ref().unwrap();
        assert_eq!((machine.drain.unwrap().ended_at, machine.is_cordoned), (Some(at(3)), true));
        backend.and([CANCELLED]).when(end(2)).then_nothing();
    }

    #[test]
    fn uncordon_undoes_a_drain() {
        let uncordon = ChangeCordon { cordoned: false };
        let backend = given([enrolled(), BackendEvent::Cordoned(Cordoned {}), started(true)]);
        let backend = backend.when(uncordon).then(BackendEvent::Uncordoned(Uncordoned {}));
        let machine = backend.state.machine.unwrap();
        assert_eq!((machine.drain, machine.is_cordoned), (None, false));
    }

    #[test]
    fn drain_of_an_unknown_backend_is_rejected() {
        given([]).when(start(false)).then_rejected(NotEnrolled);
        given([]).when(CancelDrain).then_rejected(NotEnrolled);
        given([]).when(EndDrain { started_at: at(1), left: 0 }).then_rejected(NotEnrolled);
    }
}

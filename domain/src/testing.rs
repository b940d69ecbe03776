//! Test support: given some events, when a command is decided, then an event, nothing or a rejection results.
//!
//! Ids and times are small numbers, so that failure messages are readable.

#![expect(clippy::needless_pass_by_value, reason = "a test hands over what it builds, and reads better without `&`")]

use proptest::test_runner::Config;
use uuid::Uuid;

use crate::aggregate::{Aggregate, Command, Meta};
use crate::event::Event;
use crate::ids::{EventId, PrincipalId, SessionId, UserId};
use crate::timestamp::Timestamp;

/// 2026-11-22T00:00:00Z.
const START_MILLIS: i64 = 1_795_305_600_000;

/// The time this many seconds after [`START_MILLIS`].
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START_MILLIS + seconds * 1000)
}

/// The `n`th event's id; [`given`] numbers events from 1.
pub fn event_id(n: u128) -> EventId {
    EventId::from_uuid(Uuid::from_u128(n))
}

/// A user.
pub fn user(n: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(n))
}

/// A principal.
pub fn principal(n: u128) -> PrincipalId {
    PrincipalId::from_uuid(Uuid::from_u128(n))
}

/// A session.
pub fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n))
}

/// 10,000 cases per property, unless `PROPTEST_CASES` is set.
pub fn many_cases() -> Config {
    let config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { Config { cases: 10_000, ..config } }
}

/// An aggregate after some events.
#[derive(Debug, Clone)]
pub struct Given<A> {
    /// Its state.
    pub state: A,
    /// The number of the last event, and its second.
    last: (u128, i64),
}

/// Applies these events, one per second from [`at`]`(1)`.
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given { state: A::default(), last: (0, 0) }.and(events)
}

impl<A: Aggregate> Given<A> {
    /// Applies further events, one per second.
    pub fn and(mut self, events: impl IntoIterator<Item = A::Event>) -> Self {
        for event in events {
            self.last = (self.last.0 + 1, self.last.1 + 1);
            self.state.evolve(&event, &Meta { id: event_id(self.last.0), time: at(self.last.1) });
        }
        self
    }

    /// Applies an event at this second.
    pub fn and_at(mut self, seconds: i64, event: A::Event) -> Self {
        self.last.1 = seconds - 1;
        self.and([event])
    }

    /// Decides a command.
    pub fn when<C: Command<Aggregate = A>>(self, command: C) -> Then<C> {
        let outcome = command.decide(&self.state);
        Then { before: self, outcome }
    }
}

/// A decision. Each check returns the aggregate with the decided event applied.
pub struct Then<C: Command> {
    before: Given<C::Aggregate>,
    outcome: Result<Option<<C::Aggregate as Aggregate>::Event>, C::Rejection>,
}

impl<C: Command> Then<C> {
    /// Checks that the command decides exactly this event.
    #[track_caller]
    pub fn then(self, expected: <C::Aggregate as Aggregate>::Event) -> Given<C::Aggregate> {
        let expected_event: Event = expected.clone().into();
        match &self.outcome {
            Ok(Some(event)) if event.clone().into() == expected_event => self.before.and([expected]),
            other => panic!("expected {}\nbut got {}", json(&expected_event), describe::<C>(other)),
        }
    }

    /// Checks that the command decides nothing.
    #[track_caller]
    pub fn then_nothing(self) -> Given<C::Aggregate> {
        match &self.outcome {
            Ok(None) => self.before,
            other => panic!("expected nothing\nbut got {}", describe::<C>(other)),
        }
    }

    /// Checks that the command is rejected for exactly this reason.
    #[track_caller]
    pub fn then_rejected(self, expected: C::Rejection) -> Given<C::Aggregate>
    where
        C::Rejection: PartialEq,
    {
        match &self.outcome {
            Err(rejection) if *rejection == expected => self.before,
            other => panic!("expected the rejection {expected:?}\nbut got {}", describe::<C>(other)),
        }
    }
}

fn json(event: &Event) -> String {
    serde_json::to_string_pretty(event).unwrap()
}

fn describe<C: Command>(outcome: &Result<Option<<C::Aggregate as Aggregate>::Event>, C::Rejection>) -> String {
    match outcome {
        Ok(None) => "nothing".to_owned(),
        Ok(Some(event)) => json(&event.clone().into()),
        Err(rejection) => format!("the rejection {rejection:?}"),
    }
}

mod tests {
    use super::*;
    use crate::claim::{AlreadyClaimed, Claim, ClaimEvent, ClaimOwner, TakeClaim};

    fn take(owner: u128) -> TakeClaim {
        TakeClaim { owner: principal(owner) }
    }

    #[test]
    #[should_panic(expected = "but got the rejection AlreadyClaimed")]
    fn then_after_a_rejection_panics_with_it() {
        let taken = |owner| ClaimEvent::Taken(ClaimOwner { owner: principal(owner) });
        given([taken(1)]).when(take(2)).then(taken(2));
    }

    #[test]
    #[should_panic(expected = "but got nothing")]
    fn then_rejected_after_nothing_panics() {
        given([ClaimEvent::Taken(ClaimOwner { owner: principal(1) })]).when(take(1)).then_rejected(AlreadyClaimed);
    }

    #[test]
    #[should_panic(expected = "dockhost.claim.taken.v1")]
    fn then_nothing_after_an_event_panics_with_it() {
        given::<Claim>([]).when(take(1)).then_nothing();
    }

    #[test]
    #[should_panic(expected = "but got {")]
    fn then_after_another_event_of_the_same_kind_panics() {
        given::<Claim>([]).when(take(1)).then(ClaimEvent::Taken(ClaimOwner { owner: principal(2) }));
    }
}

//! Enrolment and connection state of a backend.

use proptest::prelude::*;

use super::*;
use crate::aggregate::Command;
use crate::names::Username;
use crate::testing::{at, given, many_cases};

pub(super) fn details(name: &str) -> Enrolled {
    Enrolled {
        username: name.parse::<Username>().unwrap().into(),
        password_verifier: "$argon2id$".to_owned().into(),
        lab_name: None,
        operating_system: None,
        max_containers: 4,
        key_version: 1,
        awaits_approval: false,
        token: None,
    }
}

pub(super) fn enrolled() -> BackendEvent {
    BackendEvent::Enrolled(details("lab-1"))
}

/// Enrolled, and not approved.
pub(super) fn pending() -> BackendEvent {
    BackendEvent::Enrolled(Enrolled { awaits_approval: true, ..details("lab-1") })
}

fn info(address: &str) -> Connected {
    Connected { address: address.to_owned().into(), runtime: "docker".to_owned(), agent_version: "0.1.0".to_owned() }
}

pub(super) fn mark_connected(address: &str) -> MarkConnected {
    MarkConnected(info(address))
}

fn connected(address: &str) -> BackendEvent {
    BackendEvent::Connected(info(address))
}

fn mark_lost() -> MarkLost {
    MarkLost { silent_for_seconds: 15 }
}

pub(super) fn lost() -> BackendEvent {
    BackendEvent::Lost(Lost { silent_for_seconds: 15 })
}

#[test]
fn backend_is_enrolled_once() {
    let backend = given([])
        .when(EnrolBackend(details("lab-1")))
        .then(enrolled())
        .when(EnrolBackend(details("lab-2")))
        .then_rejected(BackendExists);
    let machine = backend.state.machine.unwrap();
    assert_eq!((machine.connection, machine.enrolled_at, machine.agent_info), (ConnectionState::Enrolled, at(1), None));
}

#[test]
fn backend_not_enrolled_cannot_be_marked() {
    given([]).when(mark_connected("10.0.0.1")).then_rejected(NotEnrolled);
    given([]).when(mark_lost()).then_rejected(NotEnrolled);
    // A fold cannot fail.
    assert_eq!(given::<Backend>([connected("10.0.0.1"), lost()]).state, Backend::default());
}

#[test]
fn mark_connected_without_a_change_records_nothing() {
    given([enrolled()])
        .when(mark_connected("10.0.0.1"))
        .then(connected("10.0.0.1"))
        .when(mark_connected("10.0.0.1"))
        .then_nothing()
        .when(mark_connected("10.0.0.2"))
        .then(connected("10.0.0.2"))
        .when(mark_connected("10.0.0.1"))
        .then(connected("10.0.0.1"));
}

#[test]
fn mark_lost_records_once_until_the_next_connection() {
    let backend = given([enrolled()])
        .when(mark_lost())
        .then_nothing()
        .when(mark_connected("10.0.0.1"))
        .then(connected("10.0.0.1"))
        .when(mark_lost())
        .then(lost())
        .when(mark_lost())
        .then_nothing();
    let machine = backend.state.machine.clone().unwrap();
    assert_eq!(machine.agent_info, Some(info("10.0.0.1")), "unchanged while it is lost");
    assert_eq!(machine.lost_at, Some(at(3)));
    let backend = backend.when(mark_connected("10.0.0.1")).then(connected("10.0.0.1"));
    assert_eq!(backend.state.machine.unwrap().lost_at, None);
}

proptest! {
    #![proptest_config(many_cases())]

    /// The state is the last command's, and a repeated command records nothing.
    #[test]
    fn connection_state_is_that_of_the_last_command(commands in prop::collection::vec(0_usize..3, 0..40)) {
        let mut backend = given([enrolled()]);
        let mut before = None;
        for command in commands {
            let event = match command {
                0 => mark_lost().decide(&backend.state).unwrap(),
                n => mark_connected(["10.0.0.1", "10.0.0.2"][n - 1]).decide(&backend.state).unwrap(),
            };
            let changes = before.map_or(command != 0, |before| before != command);
            prop_assert_eq!(event.is_some(), changes);
            before = if changes { Some(command) } else { before };
            backend = backend.and(event);
            let machine = backend.state.machine.as_ref().unwrap();
            let connection = before.map_or(ConnectionState::Enrolled, |before| if before == 0 { ConnectionState::Lost } else { ConnectionState::Connected });
            prop_assert_eq!(machine.connection, connection);
        }
    }
}

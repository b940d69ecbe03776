//! A machine is registered once, and then it is there or it is not.

use proptest::prelude::*;

use super::*;
use crate::aggregate::Command;
use crate::testing::{at, given, thorough};

fn details(name: &str) -> Enrolled {
    Enrolled {
        username: name.parse::<Username>().unwrap().into(),
        password_verifier: "$argon2id$".to_owned().into(),
        lab_name: None,
        operating_system: None,
        max_containers: 4,
        key_version: 1,
    }
}

fn enrolled() -> BackendEvent {
    BackendEvent::Enrolled(details("lab-1"))
}

fn facts(address: &str) -> Connected {
    Connected { address: address.to_owned().into(), runtime: "docker".to_owned(), agent_version: "0.1.0".to_owned() }
}

fn heard(address: &str) -> MarkConnected {
    MarkConnected(facts(address))
}

fn connected(address: &str) -> BackendEvent {
    BackendEvent::Connected(facts(address))
}

fn silent() -> MarkLost {
    MarkLost { silent_for_seconds: 15 }
}

fn lost() -> BackendEvent {
    BackendEvent::Lost(Lost { silent_for_seconds: 15 })
}

#[test]
fn a_machine_is_enrolled_once() {
    let backend = given([])
        .when(EnrolBackend(details("lab-1")))
        .then(enrolled())
        .when(EnrolBackend(details("lab-2")))
        .then_rejected(BackendExists);
    let machine = backend.state.machine.unwrap();
    assert_eq!((machine.connection, machine.enrolled_at, machine.agent_info), (ConnectionState::Enrolled, at(1), None));
}

#[test]
fn what_is_not_enrolled_is_neither_heard_nor_lost() {
    given([]).when(heard("10.0.0.1")).then_rejected(NotEnrolled);
    given([]).when(silent()).then_rejected(NotEnrolled);
    // A fold is total: what the log holds cannot be refused.
    assert_eq!(given::<Backend>([connected("10.0.0.1"), lost()]).state, Backend::default());
}

#[test]
fn only_a_heartbeat_with_news_is_recorded() {
    given([enrolled()])
        .when(heard("10.0.0.1"))
        .then(connected("10.0.0.1"))
        .when(heard("10.0.0.1"))
        .then_nothing()
        .when(heard("10.0.0.2"))
        .then(connected("10.0.0.2"))
        .when(heard("10.0.0.1"))
        .then(connected("10.0.0.1"));
}

#[test]
fn a_machine_is_lost_once_and_heard_again() {
    let backend = given([enrolled()])
        .when(silent())
        .then_nothing()
        .when(heard("10.0.0.1"))
        .then(connected("10.0.0.1"))
        .when(silent())
        .then(lost())
        .when(silent())
        .then_nothing();
    assert_eq!(backend.state.machine.clone().unwrap().agent_info, Some(facts("10.0.0.1")), "kept while it is lost");
    backend.when(heard("10.0.0.1")).then(connected("10.0.0.1"));
}

proptest! {
    #![proptest_config(thorough())]

    /// The link says what was found last, and no finding is recorded twice in a row.
    #[test]
    fn the_link_is_what_was_found_last(found in prop::collection::vec(0_usize..3, 0..40)) {
        let mut backend = given([enrolled()]);
        let mut before = None;
        for finding in found {
            let event = match finding {
                0 => silent().decide(&backend.state).unwrap(),
                n => heard(["10.0.0.1", "10.0.0.2"][n - 1]).decide(&backend.state).unwrap(),
            };
            let news = before.map_or(finding != 0, |before| before != finding);
            prop_assert_eq!(event.is_some(), news);
            before = if news { Some(finding) } else { before };
            backend = backend.and(event);
            let machine = backend.state.machine.as_ref().unwrap();
            let link = before.map_or(ConnectionState::Enrolled, |before| if before == 0 { ConnectionState::Lost } else { ConnectionState::Connected });
            prop_assert_eq!(machine.connection, link);
        }
    }
}

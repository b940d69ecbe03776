//! The checker catches what it is there to catch: a sound report of a real run, with one fault planted at a time.
//!
//! `sound.json` is the report of `dockhost-chaos run --seed 11 --rounds 0 --clients 3 --agents 2 --replicas 2 --quota 3`.
//! Its documents are folded anew when it is read, so that it stays sound when a fold changes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;

use dockhost_chaos::checker::log::{EXPECTED, Log};
use dockhost_chaos::checker::{Found, Invariant, check};
use dockhost_chaos::history::{Kind, Moment, Operation, Outcome, Verdict};
use dockhost_chaos::observation::{Change, Copy, Entry, Verified};
use dockhost_chaos::report::{Act, Fault, Part, Report};
use dockhost_domain::ids::InstanceId;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::model::Folded;
use dockhost_projections::registry::ModelVisitor;
use dockhost_projections::{ReadModel, visit_all};
use serde_json::{Value, json};

const REQUESTED: &str = "dockhost.instance.requested.v1";
const OBSERVED: &str = "dockhost.instance.observed.v1";
const TAKEN: &str = "dockhost.claim.taken.v1";
const CREATED: &str = "dockhost.account.created.v1";
const STARTED: &str = "dockhost.session.started.v1";

fn sound() -> Report {
    let mut report = Report::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sound.json")).unwrap();
    project(&mut report, |_| true);
    report
}

/// Folds the documents anew, from the events that `of` lets through.
fn project(report: &mut Report, of: impl Fn(u64) -> bool) {
    struct Fold<'a, F>(&'a Log, F);

    impl<F: Fn(u64) -> bool> ModelVisitor for Fold<'_, F> {
        type Output = (&'static str, Vec<Value>);

        fn visit<M: ReadModel>(&mut self) -> Self::Output {
            let mut folded = Folded::<M>::default();
            for logged in self.0.events.iter().filter(|logged| self.1(logged.sequence())) {
                if logged.recorded.envelope.aggregate.kind() == M::KIND {
                    folded.fold(&logged.recorded);
                }
            }
            (M::NAME, folded.documents().map(|document| serde_json::to_value(document).unwrap()).collect())
        }
    }

    let log = Log::read(&report.observation, &mut Found::default());
    for (name, documents) in visit_all(&mut Fold(&log, of)) {
        report.observation.models.iter_mut().find(|model| model.name == name).unwrap().documents = documents;
    }
}

fn position_of(report: &Report, kind: &str) -> usize {
    report.observation.log.iter().position(|entry| entry.headers["ce-type"] == kind).unwrap()
}

fn last_of(report: &Report, kind: &str) -> usize {
    report.observation.log.iter().rposition(|entry| entry.headers["ce-type"] == kind).unwrap()
}

/// Appends a copy of an entry, as another event of the same subject that expects what is there.
fn append_like(report: &mut Report, index: usize) -> &mut Entry {
    let log = &mut report.observation.log;
    let mut entry = log[index].clone();
    let before = log.iter().rfind(|other| other.subject == entry.subject).unwrap().sequence;
    entry.sequence = log.last().unwrap().sequence + 1;
    entry.headers.insert("ce-id".to_owned(), fresh(entry.sequence));
    entry.headers.insert("dockhost-cause".to_owned(), "planted".to_owned());
    entry.headers.insert(EXPECTED.to_owned(), before.to_string());
    log.push(entry);
    log.last_mut().unwrap()
}

fn fresh(n: u64) -> String {
    format!("01a20000-0000-7000-8000-{n:012}")
}

fn operation(report: &mut Report, wanted: impl Fn(&Operation) -> bool) -> &mut Operation {
    report.history.iter_mut().find(|operation| wanted(operation)).expect("the sound report has such a request")
}

fn answered(operation: &mut Operation) -> (&mut u16, &mut String, &mut Value) {
    match &mut operation.outcome {
        Outcome::Answered { status, code, data, .. } => (status, code, data),
        Outcome::Lost { why } => panic!("{why}"),
    }
}

fn is_list(operation: &Operation) -> bool {
    let shown = operation.data().as_array().is_some_and(|list| !list.is_empty());
    operation.kind == Kind::List && operation.position.is_some() && shown
}

fn document<'a>(report: &'a mut Report, model: &str) -> &'a mut Value {
    let model = report.observation.models.iter_mut().find(|found| found.name == model).unwrap();
    model.documents.iter_mut().max_by_key(|document| document["seq"].as_u64()).unwrap()
}

/// Plants a fault, and sees that it is caught as what it is.
fn caught(plant: impl FnOnce(&mut Report), invariant: Invariant, words: &str) {
    let mut report = sound();
    plant(&mut report);
    let violations = check(&report);
    let hit = violations.iter().any(|found| found.invariant == invariant && found.what.contains(words));
    assert!(hit, "{invariant} ({words}) is not among {violations:#?}");
}

#[test]
fn a_sound_report_has_nothing_to_be_found_and_much_to_be_looked_at() {
    let report = sound();
    assert_eq!(check(&report), vec![]);
    for kind in [Kind::SignUp, Kind::Create, Kind::Delete, Kind::List, Kind::Look] {
        let of_it = |operation: &&Operation| operation.kind == kind && operation.verdict() == Verdict::Done;
        assert!(report.history.iter().any(|operation| of_it(&operation)), "{kind:?}");
    }
    assert!(report.observation.machines.iter().any(|machine| !machine.changes.is_empty()));
}

#[test]
fn a_dropped_acknowledgement() {
    for kind in [REQUESTED, STARTED] {
        let drop_last = |report: &mut Report| {
            let index = last_of(report, kind);
            report.observation.log.remove(index);
        };
        caught(drop_last, Invariant::I1, "acknowledged");
    }
    let truncate = |report: &mut Report| {
        let index = position_of(report, REQUESTED);
        report.observation.log.truncate(index);
    };
    caught(truncate, Invariant::I1, "acknowledged instance");
}

#[test]
fn a_doubled_create() {
    let keyed = |report: &mut Report| {
        let index = report.observation.log.iter().position(|entry| {
            entry.headers["ce-type"] == REQUESTED
                && entry.data.as_ref().is_some_and(|data| !data["idempotency"].is_null())
        });
        let entry = append_like(report, index.unwrap());
        let data = entry.data.as_mut().unwrap();
        data["instanceId"] = json!(fresh(1));
        data["name"]["$personal"] = json!("doubled");
    };
    caught(keyed, Invariant::I1, "used for two instances");
    let repeated = |report: &mut Report| {
        let index = position_of(report, REQUESTED);
        append_like(report, index);
    };
    caught(repeated, Invariant::I1, "requested twice");
    caught(repeated, Invariant::I4, "is of an instance that there is");
    let by_one_request = |report: &mut Report| {
        let index = position_of(report, REQUESTED);
        let cause = report.observation.log[index].headers["dockhost-cause"].clone();
        let entry = append_like(report, index);
        entry.headers.insert("dockhost-cause".to_owned(), cause);
        entry.data.as_mut().unwrap()["instanceId"] = json!(fresh(1));
    };
    caught(by_one_request, Invariant::I1, "neither all nor nothing");
    let stored_twice = |report: &mut Report| {
        let index = position_of(report, STARTED);
        let id = report.observation.log[index].headers["ce-id"].clone();
        append_like(report, index).headers.insert("ce-id".to_owned(), id);
    };
    caught(stored_twice, Invariant::I1, "in the log twice");
}

#[test]
fn what_is_refused_or_unknown_and_left_a_part() {
    let refused = |report: &mut Report| {
        let done = operation(report, |operation| operation.kind == Kind::Create && operation.status() == Some(201));
        let (status, code, _) = answered(done);
        (*status, *code) = (503, "broker_unavailable".to_owned());
    };
    caught(refused, Invariant::I2, "refused command left events");
    let half = |report: &mut Report| {
        let done = operation(report, |operation| operation.kind == Kind::SignUp && operation.status() == Some(201));
        done.outcome = Outcome::Lost { why: "planted".to_owned() };
        let cause = format!("request:{}", done.request);
        let log = &mut report.observation.log;
        let index = log.iter().position(|e| e.headers["dockhost-cause"] == cause && e.headers["ce-type"] == CREATED);
        log.remove(index.unwrap());
    };
    caught(half, Invariant::I2, "neither all nor nothing");
}

#[test]
fn an_expectation_that_was_not_the_last_sequence() {
    let wrong = |report: &mut Report| {
        let index = last_of(report, OBSERVED);
        report.observation.log[index].headers.insert(EXPECTED.to_owned(), "1".to_owned());
    };
    caught(wrong, Invariant::I3, "expected 1");
    let none = |report: &mut Report| {
        let index = last_of(report, OBSERVED);
        report.observation.log[index].headers.remove(EXPECTED);
    };
    caught(none, Invariant::I3, "expected nothing");
}

#[test]
fn swapped_events() {
    let swap = |report: &mut Report| {
        let log = &mut report.observation.log;
        let one = log.iter().position(|entry| entry.headers["ce-type"] == REQUESTED).unwrap();
        let subject = log[one].subject.clone();
        let other = (one + 1..log.len()).find(|index| log[*index].subject == subject).unwrap();
        log.swap(one, other);
        let (first, second) = (log[one].sequence, log[other].sequence);
        (log[one].sequence, log[other].sequence) = (second, first);
    };
    caught(swap, Invariant::I4, "would have");
    caught(swap, Invariant::I3, "the subject ended at");
}

#[test]
fn a_name_with_two_holders() {
    let claim = |report: &mut Report| {
        let index = position_of(report, TAKEN);
        append_like(report, index).data.as_mut().unwrap()["owner"] = json!(fresh(2));
    };
    caught(claim, Invariant::I5, "taken by another");
    caught(claim, Invariant::I4, "taken");
    let account = |report: &mut Report| {
        let index = position_of(report, CREATED);
        let entry = append_like(report, index);
        entry.subject = format!("dockhost.event.account.{}", fresh(3));
        entry.headers.insert("ce-subject".to_owned(), entry.subject.clone());
        entry.headers.insert(EXPECTED.to_owned(), "0".to_owned());
    };
    caught(account, Invariant::I5, "two live accounts");
}

#[test]
fn more_than_is_allowed() {
    caught(|report| report.plan.quota = 1, Invariant::I6, "1 are allowed");
    let crowded = |report: &mut Report| {
        report.observation.machines.iter_mut().for_each(|machine| machine.max_containers = 0);
    };
    caught(crowded, Invariant::I6, "it takes 0");
}

/// A container that some machine made, with the number of that machine.
fn some_container(report: &Report) -> (usize, String, InstanceId, u32) {
    let machines = report.observation.machines.iter().enumerate();
    let mut made = machines.flat_map(|(n, machine)| machine.changes.iter().map(move |change| (n, change)));
    made.find_map(|(n, change)| match change {
        Change::Put { id, instance, placement, .. } => Some((n, id.clone(), *instance, *placement)),
        Change::Removed { .. } => None,
    })
    .unwrap()
}

#[test]
fn a_container_too_many() {
    let again = |report: &mut Report| {
        let (machine, id, instance, placement) = some_container(report);
        let changes = &mut report.observation.machines[machine].changes;
        changes.push(Change::Removed { id: id.clone() });
        changes.push(Change::Put { id, instance, placement, running: true });
    };
    caught(again, Invariant::I7, "second container");
    let elsewhere = |report: &mut Report| {
        let (machine, id, instance, placement) = some_container(report);
        let other = (machine + 1) % report.observation.machines.len();
        report.observation.machines[other].changes.push(Change::Put { id, instance, placement, running: true });
    };
    caught(elsewhere, Invariant::I7, "its container is on");
    let orphan = |report: &mut Report| {
        let instance = fresh(9).parse().unwrap();
        let change = Change::Put { id: "orphan".to_owned(), instance, placement: 1, running: true };
        report.observation.machines[0].changes.push(change);
    };
    caught(orphan, Invariant::I7, "nobody chose");
    caught(orphan, Invariant::I16, "nobody wants");
}

#[test]
fn an_event_that_a_read_model_skipped() {
    for kind in [REQUESTED, STARTED, "dockhost.backend.connected.v1", CREATED] {
        let skip = |report: &mut Report| {
            let sequence = report.observation.log[last_of(report, kind)].sequence;
            project(report, |event| event != sequence);
        };
        let mut report = sound();
        skip(&mut report);
        let violations = check(&report);
        assert!(violations.iter().any(|found| found.invariant == Invariant::I8), "{kind}: {violations:#?}");
    }
}

#[test]
fn an_older_document_over_a_newer_one() {
    // What a projector without the fence would have left, had it slept and woken up beside its successor.
    let overwritten = |report: &mut Report| {
        let newest = document(report, "instances").clone();
        let seq = newest["seq"].as_u64().unwrap();
        let mut older = sound();
        project(&mut older, |event| event < seq);
        let documents = &older.observation.models.iter().find(|model| model.name == "instances").unwrap().documents;
        let old = documents.iter().find(|document| document["_id"] == newest["_id"]).unwrap();
        *document(report, "instances") = old.clone();
    };
    caught(overwritten, Invariant::I8, "the document is at");
    caught(|report| document(report, "users")["username"] = json!("somebody"), Invariant::I8, "not the fold");
    let unequal = |report: &mut Report| {
        report.observation.verified = Some(Verified { equal: false, said: "DIFFERENT".to_owned() });
    };
    caught(unequal, Invariant::I9, "DIFFERENT");
}

#[test]
fn a_read_from_before_its_position() {
    let late = |report: &mut Report| {
        let end = report.observation.log.last().unwrap().sequence;
        for operation in report.history.iter_mut().filter(|operation| is_list(operation)) {
            operation.position = Some(end);
        }
    };
    caught(late, Invariant::I13, "as it was before");
    let left_out = |report: &mut Report| *answered(operation(report, is_list)).2 = json!([]);
    caught(left_out, Invariant::I13, "left out");
    let invented = |report: &mut Report| answered(operation(report, is_list)).2[0]["generation"] = json!(99);
    caught(invented, Invariant::I13, "as it never was");
    let another = |report: &mut Report| {
        operation(report, is_list).user = Some(fresh(4).parse().unwrap());
    };
    caught(another, Invariant::I13, "another user's");
}

#[test]
fn a_reader_who_saw_a_newer_state_and_then_an_older_one() {
    // The same reader is shown, at the end and with its first position, what it was shown at first.
    let back = |report: &mut Report| {
        let shown: Vec<Operation> = report.history.iter().filter(|operation| is_list(operation)).cloned().collect();
        for first in shown {
            report.history.push(first);
        }
    };
    caught(back, Invariant::I8, "went back");
}

#[test]
fn nodes_that_differ() {
    let copy = |report: &Report| {
        let entries = report.observation.log.iter();
        let entries = entries.map(|entry| (entry.sequence, entry.subject.clone(), entry.hash.clone())).collect();
        Copy { node: "dockhost-1".to_owned(), entries }
    };
    let mut report = sound();
    report.observation.copies.push(copy(&report));
    assert_eq!(check(&report), vec![]);
    let lacks = |report: &mut Report| {
        let mut copy = copy(report);
        copy.entries.pop();
        report.observation.copies.push(copy);
    };
    caught(lacks, Invariant::I14, "lacks it");
    let other = |report: &mut Report| {
        let mut copy = copy(report);
        copy.entries[3].2 = "0".repeat(64);
        report.observation.copies.push(copy);
    };
    caught(other, Invariant::I14, "another event");
}

#[test]
fn what_is_not_well_in_the_end() {
    let lag = |report: &mut Report| report.observation.models[0].checkpoint = 0;
    caught(lag, Invariant::I16, "lags");
    let stuck = |report: &mut Report| report.observation.consumers[0].pending = 3;
    caught(stuck, Invariant::I16, "messages wait");
    let leftover = |report: &mut Report| {
        let mut stored = report.observation.assignments[0].clone();
        stored.instance_id = fresh(5).parse().unwrap();
        report.observation.assignments.push(stored);
    };
    caught(leftover, Invariant::I16, "nobody wants the assignment");
    caught(|report| drop(report.observation.assignments.pop()), Invariant::I16, "assignment is missing");
    let gone = |report: &mut Report| {
        for machine in &mut report.observation.machines {
            machine.changes.clear();
        }
    };
    caught(gone, Invariant::I16, "its container's running is None");
    let pending = |report: &mut Report| {
        let index = last_of(report, OBSERVED);
        report.observation.log.truncate(index);
        report.observation.at = Timestamp::from_millis(report.observation.at.millis() + 3_600_000);
    };
    caught(pending, Invariant::I16, "overdue");
    caught(|report| report.observation.health[0] = json!(null), Invariant::I16, "is not well");
}

#[test]
fn a_fault_that_did_not_happen() {
    let moment = |ms| Moment { ms, at: Timestamp::from_millis(0) };
    let fault = |part, happened, shown_by: Option<String>| Fault {
        act: Act::Kill,
        part,
        targets: vec![0],
        begun: moment(0),
        healed: moment(1_000_000),
        processes: vec![(1, happened)],
        shown_by,
    };
    caught(|report| report.faults.push(fault(Part::Agent, false, None)), Invariant::Faults, "did not notice");
    caught(|report| report.faults.push(fault(Part::Nats, true, None)), Invariant::Faults, "nobody noticed");
    let false_witness = |report: &mut Report| {
        let witness = report.history[0].request.clone();
        report.faults.push(fault(Part::Replica, true, Some(witness)));
    };
    caught(false_witness, Invariant::Faults, "nobody noticed");
    caught(|report| report.plan.rounds = 1, Invariant::Faults, "none happened");
    let mut report = sound();
    report.faults.push(fault(Part::Agent, true, None));
    assert_eq!(check(&report), vec![]);
}

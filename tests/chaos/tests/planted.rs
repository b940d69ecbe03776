//! Tests of the checker: each plants one fault in the valid report of a real run, and expects the violation.
//!
//! `valid_history.json` is the report of `dockhost-chaos run --seed 11 --rounds 0 --clients 3 --agents 2 --replicas 2
//! --quota 3`. Its documents are rebuilt when it is loaded, so that it stays valid when a fold changes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;

use dockhost_chaos::checker::availability::Table;
use dockhost_chaos::checker::log::{EXPECTED, Log};
use dockhost_chaos::checker::{Invariant, Violations, check};
use dockhost_chaos::history::{Kind as RequestKind, Moment, Operation, Outcome, OutcomeClass};
use dockhost_chaos::observation::{Change, Consumer, Entry, NodeCopy, Verified};
use dockhost_chaos::prober::Probe;
use dockhost_chaos::report::{Evidence, Injection, Kind, Part, Report};
use dockhost_domain::ids::InstanceId;
use dockhost_domain::subject::BARRIER;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::model::Folded;
use dockhost_projections::registry::ModelVisitor;
use dockhost_projections::{ReadModel, visit_all};
use serde_json::{Value, json};

const CONNECTED: &str = "dockhost.backend.connected.v1";
const DRAIN_STARTED: &str = "dockhost.backend.drain-started.v1";
const DRAIN_ENDED: &str = "dockhost.backend.drain-ended.v1";
const REQUESTED: &str = "dockhost.instance.requested.v1";
const OBSERVED: &str = "dockhost.instance.observed.v1";
const TAKEN: &str = "dockhost.claim.taken.v1";
const CREATED: &str = "dockhost.account.created.v1";
const STARTED: &str = "dockhost.session.started.v1";

fn valid_report() -> Report {
    let mut report = Report::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid_history.json")).unwrap();
    project(&mut report, |_| true);
    report
}

/// Rebuilds the documents from the events that pass the filter.
fn project(report: &mut Report, passes: impl Fn(u64) -> bool) {
    struct Fold<'a, F> {
        log: &'a Log,
        passes: F,
    }

    impl<F: Fn(u64) -> bool> ModelVisitor for Fold<'_, F> {
        type Output = (&'static str, Vec<Value>);

        fn visit<M: ReadModel>(&mut self) -> Self::Output {
            let mut folded = Folded::<M>::default();
            for logged in self.log.events.iter().filter(|logged| (self.passes)(logged.sequence())) {
                if logged.recorded.envelope.aggregate.kind() == M::KIND {
                    folded.fold(&logged.recorded);
                }
            }
            (M::NAME, folded.documents().map(|document| serde_json::to_value(document).unwrap()).collect())
        }
    }

    let log = Log::read(&report.observation, &mut Violations::default());
    for (name, documents) in visit_all(&mut Fold { log: &log, passes }) {
        report.observation.models.iter_mut().find(|model| model.name == name).unwrap().documents = documents;
    }
}

fn position_of(report: &Report, kind: &str) -> usize {
    report.observation.log.iter().position(|entry| entry.headers["ce-type"] == kind).unwrap()
}

fn last_of(report: &Report, kind: &str) -> usize {
    report.observation.log.iter().rposition(|entry| entry.headers["ce-type"] == kind).unwrap()
}

/// Appends a copy of an entry as another event of the same subject with a correct expectation.
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

fn operation(report: &mut Report, matches: impl Fn(&Operation) -> bool) -> &mut Operation {
    report.history.iter_mut().find(|operation| matches(operation)).expect("the valid report has no such request")
}

fn answered(operation: &mut Operation) -> (&mut u16, &mut String, &mut Value) {
    match &mut operation.outcome {
        Outcome::Answered { status, code, data, .. } => (status, code, data),
        Outcome::NoResponse { reason } => panic!("{reason}"),
    }
}

fn is_list(operation: &Operation) -> bool {
    let has_instances = operation.data().as_array().is_some_and(|list| !list.is_empty());
    operation.kind == RequestKind::List && operation.position.is_some() && has_instances
}

fn document<'a>(report: &'a mut Report, model: &str) -> &'a mut Value {
    let model = report.observation.models.iter_mut().find(|candidate| candidate.name == model).unwrap();
    model.documents.iter_mut().max_by_key(|document| document["seq"].as_u64()).unwrap()
}

/// Plants a fault, and checks that the checker reports the invariant with a text that contains `text`.
fn assert_detected(plant: impl FnOnce(&mut Report), invariant: Invariant, text: &str) {
    let mut report = valid_report();
    plant(&mut report);
    let violations = check(&report);
    let hit = violations.iter().any(|violation| violation.invariant == invariant && violation.what.contains(text));
    assert!(hit, "{invariant} ({text}) is not among {violations:#?}");
}

#[test]
fn checker_valid_report_has_no_violations() {
    let report = valid_report();
    assert_eq!(check(&report), vec![]);
    for kind in [RequestKind::SignUp, RequestKind::Create, RequestKind::Delete, RequestKind::List, RequestKind::Get] {
        let is_done = |operation: &&Operation| operation.kind == kind && operation.class() == OutcomeClass::Done;
        assert!(report.history.iter().any(|operation| is_done(&operation)), "{kind:?}");
    }
    assert!(report.observation.machines.iter().any(|machine| !machine.changes.is_empty()));
}

#[test]
fn checker_missing_acknowledged_event_violates_i1() {
    for kind in [REQUESTED, STARTED] {
        let drop_last = |report: &mut Report| {
            let index = last_of(report, kind);
            report.observation.log.remove(index);
        };
        assert_detected(drop_last, Invariant::I1, "acknowledged");
    }
    let truncate = |report: &mut Report| {
        let index = position_of(report, REQUESTED);
        report.observation.log.truncate(index);
    };
    assert_detected(truncate, Invariant::I1, "acknowledged instance");
}

#[test]
fn checker_duplicate_create_violates_i1() {
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
    assert_detected(keyed, Invariant::I1, "used for two instances");
    let repeated = |report: &mut Report| {
        let index = position_of(report, REQUESTED);
        append_like(report, index);
    };
    assert_detected(repeated, Invariant::I1, "requested twice");
    assert_detected(repeated, Invariant::I4, "names an instance that exists already");
    let by_one_request = |report: &mut Report| {
        let index = position_of(report, REQUESTED);
        let cause = report.observation.log[index].headers["dockhost-cause"].clone();
        let entry = append_like(report, index);
        entry.headers.insert("dockhost-cause".to_owned(), cause);
        entry.data.as_mut().unwrap()["instanceId"] = json!(fresh(1));
    };
    assert_detected(by_one_request, Invariant::I1, "neither complete nor absent");
    let stored_twice = |report: &mut Report| {
        let index = position_of(report, STARTED);
        let id = report.observation.log[index].headers["ce-id"].clone();
        append_like(report, index).headers.insert("ce-id".to_owned(), id);
    };
    assert_detected(stored_twice, Invariant::I1, "in the log twice");
}

#[test]
fn checker_events_of_refused_or_partial_commands_violate_i2() {
    let refused = |report: &mut Report| {
        let done =
            operation(report, |operation| operation.kind == RequestKind::Create && operation.status() == Some(201));
        let (status, code, _) = answered(done);
        (*status, *code) = (503, "broker_unavailable".to_owned());
    };
    assert_detected(refused, Invariant::I2, "refused command stored events");
    let half = |report: &mut Report| {
        let done =
            operation(report, |operation| operation.kind == RequestKind::SignUp && operation.status() == Some(201));
        done.outcome = Outcome::NoResponse { reason: "planted".to_owned() };
        let cause = format!("request:{}", done.request);
        let log = &mut report.observation.log;
        let index = log.iter().position(|e| e.headers["dockhost-cause"] == cause && e.headers["ce-type"] == CREATED);
        log.remove(index.unwrap());
    };
    assert_detected(half, Invariant::I2, "neither complete nor absent");
}

#[test]
fn checker_wrong_expectation_violates_i3() {
    let wrong = |report: &mut Report| {
        let index = last_of(report, OBSERVED);
        report.observation.log[index].headers.insert(EXPECTED.to_owned(), "1".to_owned());
    };
    assert_detected(wrong, Invariant::I3, "expected 1");
    let none = |report: &mut Report| {
        let index = last_of(report, OBSERVED);
        report.observation.log[index].headers.remove(EXPECTED);
    };
    assert_detected(none, Invariant::I3, "has no expectation");
}

#[test]
fn checker_swapped_events_violate_i3_and_i4() {
    let swap = |report: &mut Report| {
        let log = &mut report.observation.log;
        let one = log.iter().position(|entry| entry.headers["ce-type"] == REQUESTED).unwrap();
        let subject = log[one].subject.clone();
        let other = (one + 1..log.len()).find(|index| log[*index].subject == subject).unwrap();
        log.swap(one, other);
        let (first, second) = (log[one].sequence, log[other].sequence);
        (log[one].sequence, log[other].sequence) = (second, first);
    };
    assert_detected(swap, Invariant::I4, "would have");
    assert_detected(swap, Invariant::I3, "the subject's last sequence was");
}

#[test]
fn checker_name_with_two_owners_violates_i5() {
    let claim = |report: &mut Report| {
        let index = position_of(report, TAKEN);
        append_like(report, index).data.as_mut().unwrap()["owner"] = json!(fresh(2));
    };
    assert_detected(claim, Invariant::I5, "taken by another");
    assert_detected(claim, Invariant::I4, "taken");
    let account = |report: &mut Report| {
        let index = position_of(report, CREATED);
        let entry = append_like(report, index);
        entry.subject = format!("dockhost.event.account.{}", fresh(3));
        entry.headers.insert("ce-subject".to_owned(), entry.subject.clone());
        entry.headers.insert(EXPECTED.to_owned(), "0".to_owned());
    };
    assert_detected(account, Invariant::I5, "two accounts have");
}

#[test]
fn checker_exceeded_limits_violate_i6() {
    assert_detected(|report| report.plan.quota = 1, Invariant::I6, "the quota is 1");
    let crowded = |report: &mut Report| {
        report.observation.machines.iter_mut().for_each(|machine| machine.max_containers = 0);
    };
    assert_detected(crowded, Invariant::I6, "the maximum is 0");
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
fn checker_unexpected_container_violates_i7() {
    let again = |report: &mut Report| {
        let (machine, id, instance, placement) = some_container(report);
        let changes = &mut report.observation.machines[machine].changes;
        changes.push(Change::Removed { id: id.clone() });
        changes.push(Change::Put { id, instance, placement, running: true });
    };
    assert_detected(again, Invariant::I7, "second container");
    let elsewhere = |report: &mut Report| {
        let (machine, id, instance, placement) = some_container(report);
        let other = (machine + 1) % report.observation.machines.len();
        report.observation.machines[other].changes.push(Change::Put { id, instance, placement, running: true });
    };
    assert_detected(elsewhere, Invariant::I7, "its container is on");
    let orphan = |report: &mut Report| {
        let instance = fresh(9).parse().unwrap();
        let change = Change::Put { id: "orphan".to_owned(), instance, placement: 1, running: true };
        report.observation.machines[0].changes.push(change);
    };
    assert_detected(orphan, Invariant::I7, "which is not in the log");
    assert_detected(orphan, Invariant::I16, "which is not desired");
}

#[test]
fn checker_skipped_event_violates_i8() {
    for kind in [REQUESTED, STARTED, "dockhost.backend.connected.v1", CREATED] {
        let skip = |report: &mut Report| {
            let sequence = report.observation.log[last_of(report, kind)].sequence;
            project(report, |event| event != sequence);
        };
        let mut report = valid_report();
        skip(&mut report);
        let violations = check(&report);
        assert!(violations.iter().any(|violation| violation.invariant == Invariant::I8), "{kind}: {violations:#?}");
    }
}

#[test]
fn checker_overwritten_document_violates_i8_and_i9() {
    // A projector without fencing leaves this when it continues after its successor has started.
    let overwritten = |report: &mut Report| {
        let newest = document(report, "instances").clone();
        let seq = newest["seq"].as_u64().unwrap();
        let mut older = valid_report();
        project(&mut older, |event| event < seq);
        let documents = &older.observation.models.iter().find(|model| model.name == "instances").unwrap().documents;
        let old = documents.iter().find(|document| document["_id"] == newest["_id"]).unwrap();
        *document(report, "instances") = old.clone();
    };
    assert_detected(overwritten, Invariant::I8, "the document is at");
    assert_detected(|report| document(report, "users")["username"] = json!("another"), Invariant::I8, "not the fold");
    let unequal = |report: &mut Report| {
        report.observation.verified = Some(Verified { equal: false, output: "DIFFERENT".to_owned() });
    };
    assert_detected(unequal, Invariant::I9, "DIFFERENT");
}

#[test]
fn checker_read_before_its_position_violates_i13() {
    let late = |report: &mut Report| {
        let end = report.observation.log.last().unwrap().sequence;
        for operation in report.history.iter_mut().filter(|operation| is_list(operation)) {
            operation.position = Some(end);
        }
    };
    assert_detected(late, Invariant::I13, "in a state from before");
    let omitted = |report: &mut Report| *answered(operation(report, is_list)).2 = json!([]);
    assert_detected(omitted, Invariant::I13, "omitted");
    let invented = |report: &mut Report| answered(operation(report, is_list)).2[0]["generation"] = json!(99);
    assert_detected(invented, Invariant::I13, "that it never had");
    let another = |report: &mut Report| {
        operation(report, is_list).user = Some(fresh(4).parse().unwrap());
    };
    assert_detected(another, Invariant::I13, "another user's");
}

#[test]
fn checker_read_that_goes_back_violates_i8() {
    // At the end, each reader gets its earlier responses again.
    let back = |report: &mut Report| {
        let lists: Vec<Operation> = report.history.iter().filter(|operation| is_list(operation)).cloned().collect();
        for first in lists {
            report.history.push(first);
        }
    };
    assert_detected(back, Invariant::I8, "went back");
}

#[test]
fn checker_different_nodes_violate_i14() {
    let copy = |report: &Report| {
        let entries = report.observation.log.iter();
        let entries = entries.map(|entry| (entry.sequence, entry.subject.clone(), entry.hash.clone())).collect();
        NodeCopy { node: "dockhost-1".to_owned(), entries }
    };
    let mut report = valid_report();
    report.observation.copies.push(copy(&report));
    assert_eq!(check(&report), vec![]);
    // A barrier that was written since is no event.
    let end = report.observation.log.last().unwrap().sequence;
    report.observation.copies[0].entries.push((end + 1, BARRIER.to_owned(), String::new()));
    assert_eq!(check(&report), vec![]);
    let lacks = |report: &mut Report| {
        let mut copy = copy(report);
        copy.entries.pop();
        report.observation.copies.push(copy);
    };
    assert_detected(lacks, Invariant::I14, "lacks this event");
    let other = |report: &mut Report| {
        let mut copy = copy(report);
        copy.entries[3].2 = "0".repeat(64);
        report.observation.copies.push(copy);
    };
    assert_detected(other, Invariant::I14, "another event");
}

#[test]
fn checker_unhealthy_system_violates_i16() {
    let lag = |report: &mut Report| report.observation.models[0].checkpoint = 0;
    assert_detected(lag, Invariant::I16, "lags");
    let stuck = |report: &mut Report| report.observation.consumers[0].pending = 3;
    assert_detected(stuck, Invariant::I16, "messages are pending");
    let saved = |of: &str| {
        let consumer =
            Consumer { stream: "EVENTS".to_owned(), name: format!("{of}-place"), pending: 3, unacknowledged: 0 };
        move |report: &mut Report| report.observation.consumers.push(consumer.clone())
    };
    assert_detected(saved("account-erased"), Invariant::I16, "messages are pending");
    let mut report = valid_report();
    saved("backend-lost")(&mut report);
    assert_eq!(check(&report), vec![], "the consumer whose position is saved exists");
    let leftover = |report: &mut Report| {
        let mut assignment = report.observation.assignments[0].clone();
        assignment.instance_id = fresh(5).parse().unwrap();
        report.observation.assignments.push(assignment);
    };
    assert_detected(leftover, Invariant::I16, "the assignment is not desired");
    assert_detected(|report| drop(report.observation.assignments.pop()), Invariant::I16, "assignment is missing");
    let gone = |report: &mut Report| {
        for machine in &mut report.observation.machines {
            machine.changes.clear();
        }
    };
    assert_detected(gone, Invariant::I16, "its container's running is None");
    let pending = |report: &mut Report| {
        let index = last_of(report, OBSERVED);
        report.observation.log.truncate(index);
        report.observation.at = Timestamp::from_millis(report.observation.at.millis() + 3_600_000);
    };
    assert_detected(pending, Invariant::I16, "overdue");
    assert_detected(|report| report.observation.health[0] = json!(null), Invariant::I16, "is not healthy");
}

fn moment(ms: u64) -> Moment {
    Moment { ms, at: Timestamp::from_millis(0) }
}

/// A fault that lasts the whole run, and after which the system was well.
fn injection(kind: Kind, target: (Part, usize), confirmed: bool) -> Injection {
    Injection {
        kinds: vec![kind],
        targets: vec![target],
        what: String::new(),
        begun: moment(0),
        ending: None,
        healed: moment(1_000_000),
        evidence: vec![Evidence { what: "planted".to_owned(), confirmed }],
        well_after_ms: Some(0),
        healthy_after_ms: Some(0),
        restarted: false,
    }
}

#[test]
fn checker_fault_without_effect_is_reported() {
    let ineffective = |report: &mut Report| {
        report.faults.push(injection(Kind::KillAgent, (Part::Agent, 0), false));
    };
    assert_detected(ineffective, Invariant::Faults, "did not take effect: planted");
    let unproven = |report: &mut Report| {
        let mut fault = injection(Kind::KillAgent, (Part::Agent, 0), true);
        fault.evidence.clear();
        report.faults.push(fault);
    };
    assert_detected(unproven, Invariant::Faults, "did not take effect");
    for (kind, part) in
        [(Kind::KillNats, Part::Nats), (Kind::KillMongod, Part::Mongod), (Kind::KillLeader, Part::Replica)]
    {
        let invisible = |report: &mut Report| report.faults.push(injection(kind, (part, 0), true));
        assert_detected(invisible, Invariant::Faults, "not visible to a client");
    }
    assert_detected(|report| report.plan.rounds = 1, Invariant::Faults, "none was injected");
    let mut report = valid_report();
    report.faults.push(injection(Kind::KillAgent, (Part::Agent, 0), true));
    assert_eq!(check(&report), vec![]);
}

/// Sends a command without an event after the whole history, like one that the history has.
fn ask_at_end(report: &mut Report, kind: RequestKind, instance: Option<String>, status: u16, code: &str, data: Value) {
    let mut asked = operation(report, |operation| operation.kind == kind && operation.user.is_some()).clone();
    let end = report.history.iter().map(|operation| operation.ended.ms).max().unwrap();
    asked.request = fresh(77);
    asked.instance = instance;
    (asked.begun, asked.ended) = (moment(end + 10), moment(end + 20));
    asked.outcome = Outcome::Answered { status, code: code.to_owned(), position: None, data };
    report.history.push(asked);
}

/// An instance that was created and later deleted by acknowledged commands, with its user.
fn deleted_instance(report: &Report) -> Operation {
    let is_delete = |operation: &&Operation| {
        operation.kind == RequestKind::Delete && operation.class() == OutcomeClass::Done && operation.instance.is_some()
    };
    report.history.iter().find(is_delete).expect("no delete was acknowledged").clone()
}

#[test]
fn checker_verdict_without_a_moment_of_truth_violates_i17() {
    let deleted = deleted_instance(&valid_report());
    let (id, user) = (deleted.instance.clone().unwrap(), deleted.user);
    // Long after the deletion was acknowledged, the instance is called stopped, being deleted, never created.
    for (kind, status, code) in
        [(RequestKind::Stop, 200, ""), (RequestKind::Resume, 200, ""), (RequestKind::Stop, 409, "instance_failed")]
    {
        let stale = |report: &mut Report| {
            ask_at_end(report, RequestKind::Delete, Some(id.clone()), status, code, json!({ "instanceId": id }));
            let asked = report.history.last_mut().unwrap();
            (asked.kind, asked.user) = (kind, user);
        };
        assert_detected(stale, Invariant::I17, "was never true while it was asked");
    }
    // A new account's name was free when it signed up, and it can sign in.
    let taken = |report: &mut Report| {
        let done =
            operation(report, |operation| operation.kind == RequestKind::SignUp && operation.status() == Some(201));
        done.sent["username"] = json!("nobody");
        let (status, code, _) = answered(done);
        (*status, *code) = (409, "username_taken".to_owned());
        done.request = fresh(78);
    };
    assert_detected(taken, Invariant::I17, "username_taken was never true");
    let unknown = |report: &mut Report| {
        ask_at_end(report, RequestKind::SignIn, None, 401, "invalid_credentials", Value::Null);
    };
    assert_detected(unknown, Invariant::I17, "invalid_credentials was never true");
    let full = |report: &mut Report| {
        ask_at_end(report, RequestKind::Create, None, 403, "quota_exceeded", json!({ "limit": 50, "used": 50 }));
    };
    assert_detected(full, Invariant::I17, "quota_exceeded was never true");
    let named = |report: &mut Report| {
        ask_at_end(report, RequestKind::Create, None, 409, "name_taken", Value::Null);
        report.history.last_mut().unwrap().sent = json!({ "name": "no such box" });
    };
    assert_detected(named, Invariant::I17, "name_taken was never true");
}

#[test]
fn checker_verdict_that_was_true_satisfies_i17() {
    let mut report = valid_report();
    let deleted = deleted_instance(&report);
    let id = deleted.instance.clone().unwrap();
    ask_at_end(&mut report, RequestKind::Delete, Some(id), 404, "not_found", Value::Null);
    let asked = report.history.last_mut().unwrap();
    (asked.kind, asked.user) = (RequestKind::Stop, deleted.user);
    assert_eq!(check(&report), vec![]);
}

#[test]
fn checker_verdict_that_only_a_later_one_allows_violates_i17() {
    // The first answer shows the deletion; the second one, asked afterwards, is from before it.
    let back = |report: &mut Report| {
        let mut first = deleted_instance(report);
        let sequence = |operation: &Operation| operation.response_position();
        let known = sequence(&first);
        let mut second = first.clone();
        (first.request, second.request) = (fresh(79), fresh(80));
        let begun = first.ended.ms + 1;
        (first.begun, first.ended) = (moment(begun), moment(begun));
        (second.begun, second.ended) = (moment(begun + 1), moment(begun + 1));
        second.kind = RequestKind::Stop;
        let Outcome::Answered { code, status, .. } = &mut second.outcome else { panic!("{known:?}") };
        (*code, *status) = (String::new(), 200);
        report.history.push(first);
        report.history.push(second);
    };
    assert_detected(back, Invariant::I17, "was never true while it was asked");
}

#[test]
fn checker_event_before_what_was_known_violates_i17() {
    let late = |report: &mut Report| {
        // The first acknowledged create was sent at the end, after everything else had been acknowledged.
        let end = report.history.iter().map(|operation| operation.ended.ms).max().unwrap();
        let first =
            operation(report, |operation| operation.kind == RequestKind::Create && operation.status() == Some(201));
        (first.begun, first.ended) = (moment(end + 10), moment(end + 20));
    };
    assert_detected(late, Invariant::I17, "comes before an event that was known");
    let early = |report: &mut Report| {
        // The last acknowledged create had its response before anything else was sent.
        let last = report
            .history
            .iter_mut()
            .rfind(|operation| operation.kind == RequestKind::Create && operation.status() == Some(201));
        let last = last.unwrap();
        (last.begun, last.ended) = (moment(0), moment(0));
    };
    assert_detected(early, Invariant::I17, "comes after one of a command that was sent later");
}

#[test]
fn checker_response_outside_the_envelope_violates_i18() {
    let outside = |report: &mut Report| report.history[0].malformed = Some("502 with the body null".to_owned());
    assert_detected(outside, Invariant::I18, "502 with the body null");
}

#[test]
fn checker_system_that_stays_broken_violates_i19() {
    let never = |report: &mut Report| {
        let mut fault = injection(Kind::KillAgent, (Part::Agent, 0), true);
        fault.well_after_ms = None;
        report.faults.push(fault);
    };
    assert_detected(never, Invariant::I19, "was not well");
}

#[test]
fn checker_unobserved_system_violates_i16() {
    assert_detected(
        |report| report.unobserved = Some("planted".to_owned()),
        Invariant::I16,
        "could not be observed: planted",
    );
}

/// Probes of replica 0 every second for a minute; each kind succeeds or not.
fn probe_for_a_minute(report: &mut Report, succeeds: impl Fn(Probe) -> bool) {
    let like = report.history[0].clone();
    for (probe, second) in Probe::ALL.into_iter().flat_map(|probe| (0..60).map(move |second| (probe, second))) {
        let kind = match probe {
            Probe::Stored | Probe::CarriedOut => RequestKind::Stop,
            Probe::Read => RequestKind::List,
            Probe::Health => RequestKind::Health,
        };
        // All succeed at the beginning.
        let (status, code) = if second == 0 || succeeds(probe) { (200, "") } else { (503, "broker_unavailable") };
        let data = if probe == Probe::Health { json!({ "status": "healthy" }) } else { Value::Null };
        let code = if probe == Probe::Health { "" } else { code }.to_owned();
        let ms = 1_000_000 + second * 1000;
        report.history.push(Operation {
            client: probe.client(0),
            request: fresh(1000 + second),
            replica: 0,
            kind,
            user: None,
            key: None,
            instance: None,
            begun: moment(ms),
            ended: moment(ms + 5),
            outcome: Outcome::Answered { status, code, position: None, data },
            ..like.clone()
        });
    }
}

fn violations_of_i20(succeeds: impl Fn(Probe) -> bool) -> Vec<String> {
    let mut report = valid_report();
    probe_for_a_minute(&mut report, succeeds);
    let violations = check(&report).into_iter().filter(|violation| violation.invariant == Invariant::I20);
    violations.map(|violation| violation.what).collect()
}

#[test]
fn checker_false_health_violates_i20() {
    for failing in [Probe::Stored, Probe::Read, Probe::CarriedOut] {
        let found = violations_of_i20(|probe| probe != failing);
        assert!(found.iter().any(|what| what.contains("said that it is well")), "{failing:?}: {found:?}");
    }
    let found = violations_of_i20(|probe| probe != Probe::Health);
    assert!(found.iter().any(|what| what.contains("and every probe succeeded")), "{found:?}");
    assert_eq!(violations_of_i20(|_| true), Vec::<String>::new());
    assert_eq!(violations_of_i20(|_| false), Vec::<String>::new());
}

/// A paused replica answers late, and what it answers then is true then.
#[test]
fn checker_late_answer_about_health_is_no_false_alarm() {
    let mut report = valid_report();
    probe_for_a_minute(&mut report, |_| true);
    let is_health = |operation: &&mut Operation| Probe::of(operation) == Some(Probe::Health);
    let late = report.history.iter_mut().filter(is_health).max_by_key(|operation| operation.begun.ms).unwrap();
    late.begun = moment(1_030_000);
    late.outcome = Outcome::Answered { status: 503, code: String::new(), position: None, data: Value::Null };
    let found = check(&report).into_iter().filter(|violation| violation.invariant == Invariant::I20);
    assert_eq!(found.map(|violation| violation.what).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn availability_table_shows_the_gaps_of_each_fault() {
    let mut report = valid_report();
    probe_for_a_minute(&mut report, |probe| probe != Probe::Read);
    let mut fault = injection(Kind::KillMongod, (Part::Mongod, 0), true);
    (fault.begun, fault.healed, fault.well_after_ms) = (moment(1_010_000), moment(1_020_000), Some(1500));
    report.faults.push(fault);
    report.observation.log.clear();
    let table = Table::of(&report);
    let row = &table.0["kill-mongod"];
    assert_eq!((row.faults, row.never, row.well_after), (1, 0, Some((1500, 1500))));
    assert_eq!((row.gaps[0], row.gaps[1]), (1000, 11_500));
    assert!(table.to_string().contains("| kill-mongod | 1 | 1.5 to 1.5 | 1.0 | 11.5 | 1.0 |"), "{table}");
}

/// Appends an event of the machine that has the last requested instance.
fn append_of_machine(report: &mut Report, kind: &str, data: Value) {
    let requested = last_of(report, REQUESTED);
    let machine = report.observation.log[requested].data.as_ref().unwrap()["choice"]["backendId"].clone();
    let of_machine =
        |entry: &Entry| entry.headers["ce-type"] == CONNECTED && entry.subject.ends_with(machine.as_str().unwrap());
    let index = report.observation.log.iter().position(of_machine).unwrap();
    let entry = append_like(report, index);
    entry.headers.insert("ce-type".to_owned(), kind.to_owned());
    entry.data = Some(data);
}

#[test]
fn checker_drain_that_does_not_end_as_promised_violates_i21() {
    let start = |report: &mut Report, deadline: &str| {
        append_of_machine(report, DRAIN_STARTED, json!({ "deadline": deadline, "retire": false }));
    };
    let far = "2999-01-01T00:00:00Z";
    let early = |report: &mut Report| {
        start(report, far);
        append_of_machine(report, DRAIN_ENDED, json!({ "left": 1 }));
    };
    assert_detected(early, Invariant::I21, "ended with 1 instances left");
    let untrue = |report: &mut Report| {
        let index = last_of(report, REQUESTED);
        append_like(report, index).data.as_mut().unwrap()["instanceId"] = json!(fresh(1));
        start(report, far);
        append_of_machine(report, DRAIN_ENDED, json!({ "left": 0 }));
    };
    assert_detected(untrue, Invariant::I21, "nothing left, but");
    let placed = |report: &mut Report| {
        let index = last_of(report, REQUESTED);
        start(report, far);
        append_of_machine(report, DRAIN_ENDED, json!({ "left": 0 }));
        append_like(report, index).data.as_mut().unwrap()["instanceId"] = json!(fresh(1));
    };
    assert_detected(placed, Invariant::I21, "after the drain of it has ended");
    let long_ago = "2000-01-01T00:00:00Z";
    assert_detected(|report| start(report, long_ago), Invariant::I16, "has not ended");
    // A drain that has time left may be under way.
    let mut report = valid_report();
    start(&mut report, far);
    let objections = [Invariant::I16, Invariant::I21];
    let found = check(&report).into_iter().filter(|violation| objections.contains(&violation.invariant));
    assert_eq!(found.filter(|violation| violation.what.contains("drain")).collect::<Vec<_>>(), vec![]);
}

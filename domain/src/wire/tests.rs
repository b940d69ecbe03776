//! Every message between server and agents in its written form: agents of any age read and write the same.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::testing::golden;

/// The golden file that shows reports of this kind; a new kind does not compile without one.
fn file(news: &ReportKind) -> &'static str {
    match news {
        ReportKind::InstanceCreated(_) => "report-instance-created.json",
        ReportKind::InstanceStatus(_) => "report-instance-status.json",
        ReportKind::InstanceDeleted => "report-instance-deleted.json",
        ReportKind::InstanceRefused(_) => "report-instance-refused.json",
        ReportKind::InstanceFailed(_) => "report-instance-failed.json",
    }
}

/// Reads all bodies of a file, checks that each is written the same way again, also when a member was added to it by
/// a later release, and gives them back.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str) -> Vec<T> {
    let bodies: Vec<Value> = golden::read(&format!("wire/{name}"));
    assert!(!bodies.is_empty(), "{name} is empty");
    let read = |body: &Value| {
        let message: T = serde_json::from_value(body.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(&message).unwrap(), *body, "{name}");
        let mut newer = body.clone();
        newer["later"] = json!([1]);
        assert_eq!(serde_json::from_value::<T>(newer).unwrap(), message, "{name}");
        message
    };
    bodies.iter().map(read).collect()
}

#[test]
fn every_golden_message_is_read_and_written_the_same_way_again() {
    check::<Assignment>("assignment.json");
    check::<Confirm>("confirm.json");
    check::<Confirmed>("confirmed.json");
    check::<Heartbeat>("heartbeat.json");
    check::<Hello>("hello.json");
    check::<Welcome>("welcome.json");
    let reports = golden::names("wire").into_iter().filter(|name| name.starts_with("report-"));
    for name in reports {
        for report in check::<Report>(&name) {
            assert_eq!(file(&report.kind), name);
        }
    }
}

#[test]
fn every_message_has_a_golden_file() {
    let trouble = AgentError { code: String::new(), message: String::new() };
    let seen = Observation {
        phase: Phase::Running,
        container_id: String::new(),
        ports: Ports { ssh: 0, http: 0, https: 0 },
        host_keys: Vec::new(),
    };
    let every = [
        ReportKind::InstanceCreated(seen.clone()),
        ReportKind::InstanceStatus(seen),
        ReportKind::InstanceDeleted,
        ReportKind::InstanceRefused(trouble.clone()),
        ReportKind::InstanceFailed(trouble),
    ];
    let mut expected: Vec<&str> = every.iter().map(file).collect();
    expected.extend([
        "assignment.json",
        "confirm.json",
        "confirmed.json",
        "heartbeat.json",
        "hello.json",
        "welcome.json",
    ]);
    expected.sort_unstable();
    assert_eq!(golden::names("wire"), expected);
}

#[test]
fn a_malformed_message_is_refused() {
    for name in golden::names("wire").into_iter().filter(|name| name.starts_with("report-")) {
        let bodies: Vec<Value> = golden::read(&format!("wire/{name}"));
        let refused = |body: Value| assert!(serde_json::from_value::<Report>(body.clone()).is_err(), "{body}");
        for body in bodies {
            for member in body.as_object().unwrap().keys() {
                let mut wrong = body.clone();
                wrong[member] = json!([[]]);
                refused(wrong);
                if member != "hostKeys" {
                    let mut without = body.clone();
                    without.as_object_mut().unwrap().remove(member);
                    refused(without);
                }
            }
            for (member, wrong) in [
                ("type", json!("instance-exploded")),
                ("placement", json!(-1)),
                ("generation", json!(1_u64 << 32)),
                ("instanceId", json!("0193B3A0-0000-7000-8000-0000000000A1.>")),
            ] {
                let mut body = body.clone();
                body[member] = wrong;
                refused(body);
            }
        }
    }
}

/// Agents of earlier releases used other codes, such as `told_to_refuse`.
#[test]
fn report_with_a_code_no_longer_in_use_is_read() {
    for name in ["wire/report-instance-refused.json", "wire/report-instance-failed.json"] {
        for mut body in golden::read::<Vec<Value>>(name) {
            body["code"] = json!("told_to_refuse");
            let report: Report = serde_json::from_value(body.clone()).unwrap();
            assert_eq!(serde_json::to_value(&report).unwrap(), body);
        }
    }
}

#[test]
fn unknown_words_are_refused() {
    assert!(serde_json::from_value::<DesiredState>(json!("exploded")).is_err());
    assert!(serde_json::from_value::<Phase>(json!("paused")).is_err());
}

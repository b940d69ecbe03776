//! The JSON form of every message: agents of all releases must read and write the same.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::golden;

/// The golden file of a kind of report; a new kind does not compile without one.
fn golden_file(kind: &ReportKind) -> &'static str {
    match kind {
        ReportKind::InstanceCreated(_) => "report-instance-created.json",
        ReportKind::InstanceStatus(Observation { ended: Some(_), .. }) => "report-instance-status-ended.json",
        ReportKind::InstanceStatus(_) => "report-instance-status.json",
        ReportKind::InstanceDeleted => "report-instance-deleted.json",
        ReportKind::InstanceRefused(_) => "report-instance-refused.json",
        ReportKind::InstanceFailed(_) => "report-instance-failed.json",
    }
}

/// Checks that each body of a file round-trips and may contain an unknown member; returns the messages.
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
fn message_of_each_golden_file_round_trips() {
    check::<Assignment>("assignment.json");
    check::<Assignment>("assignment-keys.json");
    check::<Assignment>("assignment-orphan.json");
    check::<Assignment>("assignment-restart.json");
    check::<Confirm>("confirm.json");
    check::<Confirmed>("confirmed.json");
    check::<Heartbeat>("heartbeat.json");
    check::<Heartbeat>("heartbeat-machine.json");
    check::<Heartbeat>("heartbeat-leaving.json");
    check::<Heartbeat>("heartbeat-size.json");
    check::<Heartbeat>("heartbeat-ssh.json");
    check::<Hello>("hello.json");
    check::<Hello>("hello-run.json");
    check::<Hello>("hello-key.json");
    check::<Confirm>("confirm-run.json");
    check::<Welcome>("welcome.json");
    check::<Welcome>("welcome-image.json");
    check::<Welcome>("welcome-key.json");
    check::<Welcome>("welcome-reports.json");
    check::<Welcome>("welcome-pending.json");
    check::<Welcome>("welcome-overcommit.json");
    check::<HeartbeatAnswer>("answer.json");
    let reports = golden::names("wire").into_iter().filter(|name| name.starts_with("report-"));
    for name in reports {
        for report in check::<Report>(&name) {
            assert_eq!(golden_file(&report.kind), name);
        }
    }
}

#[test]
fn message_of_each_kind_has_a_golden_file() {
    let error = AgentError { code: ShortText::default(), message: ShortText::default() };
    let observation = Observation {
        phase: Phase::Running,
        container_id: "c1".parse().unwrap(),
        ports: Ports { ssh: 1, http: 2, https: 3 },
        host_keys: HostKeys::default(),
        ended: None,
    };
    let every = [
        ReportKind::InstanceCreated(observation.clone()),
        ReportKind::InstanceStatus(Observation { ended: Some(ContainerEnd::Unknown), ..observation.clone() }),
        ReportKind::InstanceStatus(observation),
        ReportKind::InstanceDeleted,
        ReportKind::InstanceRefused(error.clone()),
        ReportKind::InstanceFailed(error),
    ];
    let mut expected: Vec<&str> = every.iter().map(golden_file).collect();
    expected.extend([
        "assignment-keys.json",
        "assignment-orphan.json",
        "assignment-restart.json",
        "assignment.json",
        "confirm-run.json",
        "confirm.json",
        "confirmed.json",
        "answer.json",
        "heartbeat-leaving.json",
        "heartbeat-machine.json",
        "heartbeat-size.json",
        "heartbeat-ssh.json",
        "heartbeat.json",
        "hello-key.json",
        "hello-run.json",
        "hello.json",
        "welcome-image.json",
        "welcome-key.json",
        "welcome-overcommit.json",
        "welcome-pending.json",
        "welcome-reports.json",
        "welcome.json",
    ]);
    expected.sort_unstable();
    assert_eq!(golden::names("wire"), expected);
}

#[test]
fn report_malformed_is_rejected() {
    for name in golden::names("wire").into_iter().filter(|name| name.starts_with("report-")) {
        let bodies: Vec<Value> = golden::read(&format!("wire/{name}"));
        let assert_rejected = |body: Value| assert!(serde_json::from_value::<Report>(body.clone()).is_err(), "{body}");
        for body in bodies {
            for member in body.as_object().unwrap().keys() {
                let mut wrong = body.clone();
                wrong[member] = json!([[]]);
                assert_rejected(wrong);
                if member != "hostKeys" && member != "ended" {
                    let mut without = body.clone();
                    without.as_object_mut().unwrap().remove(member);
                    assert_rejected(without);
                }
            }
            for (member, wrong) in [
                ("type", json!("instance-exploded")),
                ("placement", json!(-1)),
                ("generation", json!(1_u64 << 32)),
                ("instanceId", json!("0193B3A0-0000-7000-8000-0000000000A1.>")),
                ("containerId", json!("../../etc/passwd")),
                ("ports", json!({ "ssh": 0, "http": 1, "https": 2 })),
                ("ports", json!({ "ssh": 1, "http": 1, "https": 65536 })),
                ("hostKeys", json!(["SHA256:AttackersOwnHostKey"])),
                ("code", json!("a\u{1b}[31m")),
                ("message", json!("m".repeat(257))),
            ] {
                if body.get(member).is_none() {
                    continue;
                }
                let mut body = body.clone();
                body[member] = wrong;
                assert_rejected(body);
            }
        }
    }
}

/// Earlier releases had further codes, such as `told_to_refuse`.
#[test]
fn report_with_a_former_code_is_read() {
    for name in ["wire/report-instance-refused.json", "wire/report-instance-failed.json"] {
        for mut body in golden::read::<Vec<Value>>(name) {
            body["code"] = json!("told_to_refuse");
            let report: Report = serde_json::from_value(body.clone()).unwrap();
            assert_eq!(serde_json::to_value(&report).unwrap(), body);
        }
    }
}

#[test]
fn heartbeat_with_an_invalid_text_is_rejected() {
    for body in golden::read::<Vec<Value>>("wire/heartbeat.json") {
        for (member, wrong) in [
            ("address", json!("h -oProxyCommand='touch /tmp/PWNED'")),
            ("address", json!("")),
            ("address", json!("a".repeat(60_000))),
            ("runtime", json!("docker\nFORGED")),
            ("agentVersion", json!("9".repeat(257))),
        ] {
            let mut body = body.clone();
            body[member] = wrong;
            assert!(serde_json::from_value::<Heartbeat>(body.clone()).is_err(), "{body}");
        }
    }
}

#[test]
fn desired_state_and_phase_unknown_are_rejected() {
    assert!(serde_json::from_value::<DesiredState>(json!("exploded")).is_err());
    assert!(serde_json::from_value::<Phase>(json!("paused")).is_err());
}

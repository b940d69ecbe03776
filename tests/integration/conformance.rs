//! `dockhost conformance` against the reference agent, the example in Python, and the example with planted faults.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{CommandOutput, program, run_within, target_tmp};

/// All checks take two minutes on a busy machine, most of which nothing may happen in.
const DEADLINE: Duration = Duration::from_secs(300);
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/backend");

/// Runs checks in `directory` on this backend; `only` is empty for all.
async fn check(
    directory: &Path,
    (within, only): (u32, &str),
    backend: &[&str],
    env: &[(&'static str, String)],
) -> CommandOutput {
    let (data, within) = (target_tmp(), within.to_string());
    let mut args = vec!["conformance", "-o", "json", "--within", &within, "--data", data.to_str().unwrap()];
    if !only.is_empty() {
        args.extend(["--only", only]);
    }
    args.push("--");
    args.extend(backend);
    run_within(DEADLINE, directory, &args, env).await
}

/// The checks with this outcome.
fn with_outcome(output: &CommandOutput, outcome: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(&output.out).unwrap_or_else(|_| panic!("no report: {output:?}"));
    let checks = report["checks"].as_array().unwrap().iter();
    let found: Vec<_> = checks
        .filter(|check| check["outcome"] == outcome)
        .map(|check| check["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(report[outcome], found.len(), "{report:#}");
    found
}

fn assert_all_passed(output: &CommandOutput, directory: &Path) {
    let log = || std::fs::read_to_string(directory.join("conformance-backend.log")).unwrap_or_default();
    assert_eq!(output.code, 0, "{}\n{}\n{}", output.out, output.err, log());
    assert!(with_outcome(output, "failed").is_empty() && with_outcome(output, "skipped").is_empty(), "{}", output.out);
    assert!(with_outcome(output, "passed").len() >= 18, "{}", output.out);
}

#[tokio::test]
async fn conformance_of_the_reference_agent_passes() {
    let directory = tempfile::tempdir().unwrap();
    let env = [
        ("LAN_IP", "127.0.0.1".to_owned()),
        ("DOCKHOST_RUNTIME", "simulated".to_owned()),
        ("DOCKHOST_STATE_DIR", directory.path().join("agent").display().to_string()),
    ];
    let agent = program("dockhost-agent");
    let output = check(directory.path(), (30, ""), &[agent.to_str().unwrap()], &env).await;
    assert_all_passed(&output, directory.path());
}

fn python(directory: &Path) -> [(&'static str, String); 5] {
    let installed = target_tmp().parent().unwrap().join("tools/nats-py");
    assert!(installed.join("nats").is_dir(), "nats-py is not installed: run `make tools` or `make test`");
    [
        ("ADDRESS", "127.0.0.1".to_owned()),
        ("MAX_CONTAINERS", "10".to_owned()),
        ("PYTHONPATH", installed.display().to_string()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ("STATE_DIR", directory.join("state").display().to_string()),
    ]
}

#[tokio::test]
async fn conformance_of_the_example_passes() {
    let directory = tempfile::tempdir().unwrap();
    let script = format!("{EXAMPLE}/backend.py");
    let output = check(directory.path(), (30, ""), &["python3", &script, "simulated"], &python(directory.path())).await;
    assert_all_passed(&output, directory.path());
}

/// A fault: what is planted into a file of the example, and the check that must find it.
struct Fault {
    check: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
}

const FAULTS: [Fault; 6] = [
    Fault {
        check: "asks-before-creating",
        file: "instance.py",
        right: "if not await self.stands(wanted):\n                return None\n            used =",
        wrong: "await self.backend.stands(wanted)\n            used =",
    },
    Fault {
        check: "reports-until-stored",
        file: "backend.py",
        right: "headers=headers)",
        wrong: "headers=headers | {\"Nats-Msg-Id\": str(uuid.uuid4())})",
    },
    Fault {
        check: "says-that-files-are-lost",
        file: "instance.py",
        right: "raise Failed(\"container_gone\", \"the container with the files of the instance does not exist\")",
        wrong: "pass",
    },
    Fault {
        check: "finds-its-containers",
        file: "engine.py",
        right: "os.path.join(state, \"containers.json\")",
        wrong: "os.path.join(state, f\"containers-{os.getpid()}.json\")",
    },
    Fault { check: "waits-for-the-holder", file: "backend.py", right: "await self.welcomed.wait()", wrong: "pass" },
    Fault { check: "leaves-in-order", file: "backend.py", right: "await backend.beat(leaving=True)", wrong: "pass" },
];

/// The example with a fault.
fn faulty(directory: &Path, fault: &Fault) -> PathBuf {
    let example = directory.join("example");
    std::fs::create_dir(&example).unwrap();
    for file in ["backend.py", "instance.py", "engine.py"] {
        let mut text = std::fs::read_to_string(format!("{EXAMPLE}/{file}")).unwrap();
        if file == fault.file {
            assert_eq!(text.matches(fault.right).count(), 1, "{file} has not once: {}", fault.right);
            text = text.replace(fault.right, fault.wrong);
        }
        std::fs::write(example.join(file), text).unwrap();
    }
    example.join("backend.py")
}

#[tokio::test]
async fn conformance_finds_planted_faults() {
    let runs = FAULTS.iter().map(|fault| async move {
        let directory = tempfile::tempdir().unwrap();
        let script = faulty(directory.path(), fault);
        let backend = ["python3", script.to_str().unwrap(), "simulated"];
        let output = check(directory.path(), (15, fault.check), &backend, &python(directory.path())).await;
        assert_eq!(output.code, 1, "{}: {output:?}", fault.check);
        assert_eq!(with_outcome(&output, "failed"), [fault.check], "{output:?}");
        assert_eq!(with_outcome(&output, "passed"), ["connects"]);
    });
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn conformance_without_a_backend_fails_and_skips_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let output = check(directory.path(), (2, ""), &["true"], &[]).await;
    assert_eq!((output.code, with_outcome(&output, "failed")), (1, vec!["connects".to_owned()]), "{output:?}");
    assert!(output.out.contains("the backend ended"), "{}", output.out);
    let unknown = check(directory.path(), (2, "flies"), &["true"], &[]).await;
    assert!(unknown.code == 1 && unknown.err.contains("there is no check flies"), "{unknown:?}");
}

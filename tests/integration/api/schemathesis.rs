//! The API's document against the API: Schemathesis sends valid and invalid requests to every operation of a running
//! replica and compares each answer with `/api/openapi.json`.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;

use crate::harness::{World, target_tmp};

/// Far longer than a run takes; most requests are answered within milliseconds.
const RUN_TIMEOUT: Duration = Duration::from_secs(180);

/// Operations that refuse some valid requests, for what only the server knows: a position in another log, a key that was
/// used with another body, a text that is not an SSH key, a common password, a time before 1970 or in the past, a size.
const REFUSE_VALID_REQUESTS: [&str; 37] = [
    "getBackend",
    "exportAccount",
    "getMe",
    "listSessions",
    "listInstances",
    "getInstance",
    // Times before 1970, and periods that end before they begin.
    "listEvents",
    "getUsage",
    "createInstance",
    "createToken",
    "explainPlacement",
    "setInstanceKeys",
    "changeInstance",
    "changeAnyInstance",
    "addSshKey",
    "changePassword",
    "updateProfile",
    "signUp",
    "signUpBackend",
    "listAllInstances",
    // A token with control characters.
    "refreshSession",
    // More than three decimals.
    "setQuota",
    "createGroup",
    "changeGroup",
    "createInvitation",
    // Hosts that can not be called, positions in another log, a key that was used for another webhook.
    "createWebhook",
    "changeWebhook",
    "createAdminWebhook",
    "resumeWebhook",
    "rotateWebhookSecret",
    // `If-Match` with a version that the resource does not have.
    "stopInstance",
    "resumeInstance",
    "deleteInstance",
    "deleteAccount",
    "deleteGroup",
    "setBackendCapacity",
    "setBackendLabels",
];

/// Where `make tools` installs Schemathesis: below cargo's target directory.
fn installed() -> PathBuf {
    let directory = target_tmp().parent().unwrap().join("tools/schemathesis");
    assert!(directory.join("bin/st").is_file(), "Schemathesis is not installed: run `make tools` or `make test`");
    directory
}

/// Runs Schemathesis in `directory`, which holds its configuration.
async fn run(directory: &Path, url: &str, args: &[&str]) -> Output {
    let installed = installed();
    let mut command = Command::new("python3");
    command.arg(installed.join("bin/st")).args(["run", &format!("{url}/api/openapi.json")]);
    // A fixed seed makes every run send the same requests.
    command.args(["--seed", "1", "--no-color", "--continue-on-failure", "--request-timeout", "70"]).args(args);
    command.env("PYTHONPATH", &installed).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(RUN_TIMEOUT, command.output()).await;
    output.expect("Schemathesis does not end").unwrap()
}

fn assert_passes(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    assert!(text.contains("generated"), "no request was sent:\n{text}");
}

#[tokio::test]
async fn openapi_document_every_operation_answers_as_documented() {
    let mut world = World::start(1).await;
    // With room for every instance, 503 would be a fault.
    world.add_agent("alpha", 3_000).await;
    let user = world.user("ada").await;
    let body = json!({ "username": "alpha", "password": "a long password" });
    let backend = world.client(0).post("/api/v2/backend/signin", body).await;
    let mut configuration = format!(
        "[auth.openapi]\nuserToken.bearer = \"{}\"\nbackendToken.bearer = \"{}\"\n",
        user.token().unwrap(),
        backend.cookie("accessTokenBE").unwrap(),
    );
    for operation in REFUSE_VALID_REQUESTS {
        configuration += &format!(
            "[[operations]]\ninclude-operation-id = \"{operation}\"\nchecks.positive_data_acceptance.enabled = false\n"
        );
    }
    // If the query names the instance, the body is not read, valid or not.
    configuration +=
        "[[operations]]\ninclude-operation-id = \"deleteInstance\"\nchecks.negative_data_rejection.enabled = false\n";
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("schemathesis.toml"), configuration).unwrap();
    let url = &world.replicas[0].url;

    // Signing out ends the session of all the others, and a stream of events has no end.
    let mut arguments = vec!["--phases", "coverage,fuzzing", "--max-examples", "20"];
    for excluded in ["signOut", "watchEvents", "watchAllEvents"] {
        arguments.extend(["--exclude-operation-id", excluded]);
    }
    assert_passes(&run(directory.path(), url, &arguments).await);
    let arguments = ["--phases", "coverage", "--include-operation-id", "signOut"];
    assert_passes(&run(directory.path(), url, &arguments).await);
    world.verify().await;
    world.check_log().await;
}

//! Requests that are repeated with their `Idempotency-Key`: what all operations with a key have in common, and what some of them
//! answer in particular.

use axum::http::Method;
use dockhost_domain::group::Groups;
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::AllGroups;
use dockhost_domain::wire::{Phase, ReportKind};
use serde_json::{Value, json};

use super::testing::{Answer, Caller, PASSWORD, TestApp, observation};
use super::tests::{Fixture, Operation, operations};
use crate::execute::CachedAggregate;

/// Sign-ins begin a session each time, refreshing has a rule of its own, a second sign-out finds no session, and explaining,
/// retrying and test messages store nothing.
const WITHOUT_KEY: [&str; 7] =
    ["signIn", "signInBackend", "refreshSession", "signOut", "explainPlacement", "retryQuarantined", "pingWebhook"];
/// A repeated sign-up begins a session of its own.
const SIGN_UPS: [&str; 2] = ["signUp", "signUpBackend"];

const GROUPS: &str = "/api/v2/admin/groups";

fn has_key(operation: &Operation) -> bool {
    let parameters = operation.document["parameters"].as_array();
    parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == "Idempotency-Key"))
}

fn posts() -> impl Iterator<Item = Operation> {
    operations().into_iter().filter(|operation| operation.method == Method::POST)
}

#[test]
fn posts_take_a_key_apart_from_those_that_need_none() {
    for operation in posts() {
        assert_eq!(has_key(&operation), !WITHOUT_KEY.contains(&operation.id.as_str()), "{}", operation.id);
    }
}

#[tokio::test]
async fn posts_repeated_with_their_key_change_nothing_and_are_answered_alike() {
    let mut repeated = 0;
    for operation in posts().filter(has_key) {
        let fixture = Fixture::new(&operation).await;
        let call = || fixture.call(&operation).header("idempotency-key", "once").send();
        let first = call().await;
        assert!((200..300).contains(&first.status), "{}: {first:?}", operation.id);
        let events = fixture.app.log.events().len();
        let again = call().await;
        assert_eq!(again.status, first.status, "{}: {again:?}", operation.id);
        let is_sign_up = SIGN_UPS.contains(&operation.id.as_str());
        if is_sign_up {
            let who =
                |answer: &Answer| (answer.data()["user"]["id"].clone(), answer.data()["DOCKHOST_API_KEY"].clone());
            assert_eq!(who(&again), who(&first), "{}", operation.id);
        } else {
            assert_eq!(again.data(), first.data(), "{}", operation.id);
        }
        assert_eq!(fixture.app.log.events().len(), events + usize::from(is_sign_up), "{}", operation.id);
        repeated += 1;
    }
    assert!(repeated > 20, "too few operations: {repeated}");
}

fn group(app: &TestApp, by: &Caller<UserId>, name: &str) -> impl Future<Output = Answer> {
    app.post(GROUPS, json!({ "name": name })).token(&by.token).header("idempotency-key", "1").send()
}

#[tokio::test]
async fn key_used_with_another_request_is_refused_and_counts_for_its_caller_only() {
    let app = TestApp::new().await;
    let (boss, other) = (app.admin("boss").await, app.admin("other").await);
    assert_eq!(group(&app, &boss, "7a").await.status, 201);
    let events = app.log.events().len();
    assert_eq!(group(&app, &boss, "7b").await.error(), (422, "idempotency_key_reused"));
    assert_eq!(app.log.events().len(), events);
    assert_eq!(group(&app, &other, "7b").await.status, 201);
    // The action is a part of the request.
    let backend = app.connected_backend("lab-1", 5).await;
    let post = |action: &str| {
        let path = format!("/api/v2/admin/backends/{}/{action}", backend.id);
        app.post(&path, json!({})).token(&boss.token).header("idempotency-key", "2").send()
    };
    assert_eq!(post("cordon").await.status, 200);
    assert_eq!(post("uncordon").await.error(), (422, "idempotency_key_reused"));
    // Its words in another order are the same request, and a refused request uses no key.
    let ordered = |body: &'static str| {
        let request = app.request(Method::POST, GROUPS).token(&boss.token).header("idempotency-key", "3");
        request.header("content-type", "application/json").body(body).send()
    };
    assert_eq!(ordered(r#"{"name":"7a"}"#).await.error(), (409, "group_name_taken"));
    let first = ordered(r#"{"name":"7c","maxInstances":2}"#).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(ordered(r#" {"maxInstances": 2, "name": "7c", "maxCpu": null} "#).await.data(), first.data());
}

#[tokio::test]
async fn request_repeated_while_the_first_one_is_carried_out_is_refused() {
    let app = TestApp::new().await;
    let boss = app.admin("boss").await;
    let entry = Groups::cache(app.app.executor.aggregates()).entry(AllGroups);
    let free = entry.command_places.available_permits();
    let turn = entry.command_lock.lock().await;
    let (first, second) = tokio::join!(group(&app, &boss, "7a"), async {
        app.eventually("the first one waits", async || entry.command_places.available_permits() < free).await;
        let second = group(&app, &boss, "7a").await;
        drop(turn);
        second
    });
    assert_eq!(second.error(), (409, "request_in_flight"), "{second:?}");
    assert_eq!((first.status, first.data()), (201, group(&app, &boss, "7a").await.data()));
}

/// The secrets that answers show once: they are derived again, and stored nowhere.
#[tokio::test]
async fn secret_is_in_the_answer_to_a_repeated_request_and_stored_nowhere() {
    let app = TestApp::new().await;
    let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
    let reset = format!("/api/v2/admin/users/{}/password-reset", ada.id);
    for (path, body, member) in [
        ("/api/v2/admin/invitations", json!({}), "token"),
        ("/api/v2/admin/enrolment-tokens", json!({}), "enrolmentToken"),
        ("/api/v2/user/tokens", json!({ "name": "backup", "scope": "read" }), "accessToken"),
        (reset.as_str(), json!({}), "token"),
    ] {
        let secret = async |key: &str| {
            let answer = app.post(path, body.clone()).token(&boss.token).header("idempotency-key", key).send().await;
            assert_eq!(answer.status, 201, "{path}: {answer:?}");
            answer.data()[member].as_str().unwrap().to_owned()
        };
        let (one, other) = (secret("1").await, secret("2").await);
        assert_ne!(one, other, "{path}");
        assert_eq!(secret("2").await, other, "{path}");
        let stored = format!("{:?}", app.log.events());
        assert!(!stored.contains(&one) && !stored.contains(&other), "{path} stores it");
    }
}

#[tokio::test]
async fn request_whose_resource_is_gone_is_answered_not_found_when_it_is_repeated() {
    let app = TestApp::new().await;
    let (boss, ada) = (app.admin("boss").await, app.signed_up_user("ada").await);
    let first = group(&app, &boss, "7a").await;
    let path = format!("{GROUPS}/{}", first.data()["id"].as_str().unwrap());
    assert_eq!(app.delete(&path).token(&boss.token).send().await.status, 200);
    assert_eq!(group(&app, &boss, "7a").await.error(), (404, "not_found"));

    let path = format!("/api/v2/admin/users/{}/password-reset", ada.id);
    let issue = || app.post(&path, json!({})).token(&boss.token).header("idempotency-key", "1").send();
    let token = issue().await.data()["token"].clone();
    let body = json!({ "token": token, "newPassword": "battery staple" });
    let reset = |body: Value| app.post("/api/v2/user/password/reset", body).header("idempotency-key", "1").send();
    assert_eq!(reset(body.clone()).await.status, 200);
    assert_eq!(issue().await.error(), (404, "not_found"), "the token was used");
    // Who signs in afterwards stays signed in.
    let credentials = json!({ "username": "ada", "password": "battery staple" });
    let signed_in = app.post("/api/v2/user/signin", credentials).send().await;
    assert_eq!(reset(body).await.status, 200);
    let token_of = signed_in.data()["accessToken"].as_str().unwrap();
    assert_eq!(app.get("/api/v2/user/me").token(token_of).send().await.status, 200);
    let other = json!({ "token": token, "newPassword": "another staple" });
    assert_eq!(reset(other).await.error(), (422, "idempotency_key_reused"));
}

/// A late repeat does not undo what was done since.
#[tokio::test]
async fn stop_repeated_after_the_instance_was_resumed_stops_nothing() {
    let app = TestApp::new().await;
    app.connected_backend("lab-1", 5).await;
    let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
    let id = app.running_instance(&ada, "web").await;
    let post = |action: &str, key: &str| {
        let request = app.post(&format!("/api/v2/admin/instances/{id}/{action}"), json!({})).token(&boss.token);
        request.header("prefer", "respond-async").header("idempotency-key", key).send()
    };
    let stopped = post("stop", "stop").await;
    app.report(ada.id, id, ReportKind::InstanceStatus(observation(Phase::Stopped))).await;
    assert_eq!(post("resume", "resume").await.status, 202);
    app.report(ada.id, id, ReportKind::InstanceStatus(observation(Phase::Running))).await;
    let events = app.log.events().len();
    let again = post("stop", "stop").await;
    assert_eq!((again.status, &again.data()["status"]), (200, &json!("running")), "{again:?}");
    assert_eq!(stopped.status, 202);
    assert_eq!(app.log.events().len(), events);
}

/// Its token is used up, and its name is taken, by the first one.
#[tokio::test]
async fn backend_sign_up_repeated_is_answered_like_the_first_for_its_password_only() {
    let app = TestApp::limited("read=600/m").await;
    let boss = app.admin("boss").await;
    let created = app.post("/api/v2/admin/enrolment-tokens", json!({})).token(&boss.token).send().await;
    let body = |password: &str| json!({ "username": "lab-1", "password": password, "enrolmentToken": created.data()["enrolmentToken"] });
    let sign_up = |body: Value, key: &str| {
        let request = app.post("/api/v2/backend/signup", body);
        request.header("idempotency-key", key).send()
    };
    let first = sign_up(body(PASSWORD), "1").await;
    assert_eq!(first.status, 201, "{first:?}");
    let again = sign_up(body(PASSWORD), "1").await;
    let what = |answer: &Answer| (answer.data()["backend"]["id"].clone(), answer.data()["DOCKHOST_API_KEY"].clone());
    assert_eq!((again.status, what(&again)), (201, what(&first)), "{again:?}");
    assert_eq!(sign_up(body(PASSWORD), "2").await.error(), (403, "enrolment_refused"));
    // At the same time, so that the delay is long enough.
    let guesses = (0..12).map(|n| sign_up(body(&format!("another password {n}")), "1"));
    let guesses = futures::future::join_all(guesses).await;
    assert!(guesses.iter().any(|answer| answer.error() == (422, "idempotency_key_reused")), "{guesses:?}");
    assert_eq!(sign_up(body(PASSWORD), "1").await.error(), (429, "rate_limited"));
}

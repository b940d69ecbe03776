//! Tests of `GET /api/v2/user/events`, and of what all event streams have in common.

use std::time::Duration;

use axum::http::Method;
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::wire::{Phase, ReportKind};
use dockhost_harness::events::Message;
use dockhost_projections::StoredModel;
use dockhost_projections::instances::Instances;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::http::testing::{Answer, Caller, EventReader, TestApp, observation};
use crate::http::views::TokenScope;

const PATH: &str = "/api/v2/user/events";

/// Opens a stream when what was stored before is shown.
async fn watch_with(app: &TestApp, token: &str, headers: &[(&str, &str)], query: &str) -> EventReader {
    app.settle().await;
    let request = app.get(&format!("{PATH}{query}")).token(token);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    EventReader::new(request.send_raw().await)
}

/// A stream from now on.
async fn watch(app: &TestApp, user: &Caller<UserId>) -> EventReader {
    let mut stream = watch_with(app, &user.token, &[], "").await;
    assert!(stream.until("ready").await.is_empty());
    stream
}

/// The position of a sequence.
fn position(app: &TestApp, sequence: u64) -> String {
    app.app.position(sequence)
}

/// The sequences of all events about a user.
fn logged(app: &TestApp, user: &Caller<UserId>) -> Vec<u64> {
    let owner = user.id.to_string();
    let events = app.log.events().into_iter();
    events.filter(|event| event.envelope.aggregate.to_string().ends_with(&owner)).map(|event| event.sequence).collect()
}

fn sequences(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(Message::sequence).collect()
}

#[tokio::test]
async fn events_change_of_an_instance_has_it_as_get_shows_it() {
    let app = TestApp::new().await;
    app.connected_backend("lab-1", 5).await;
    let user = app.user("ada").await;
    let mut stream = watch(&app, &user).await;
    let id = app.request_instance(&user, "web").await;
    let requested = stream.next().await.unwrap();
    assert_eq!(requested.name, "instance-updated");
    assert_eq!(requested.data["event"]["type"], "dockhost.instance.requested.v1");
    let get = async || app.get(&format!("/api/v2/user/instance/{id}")).token(&user.token).send().await;
    assert_eq!(&requested.data["instance"], get().await.data());
    assert_eq!(requested.data["instance"]["status"], "creating");
    app.report(user.id, id, ReportKind::InstanceCreated(observation(Phase::Running))).await;
    let created = stream.next().await.unwrap();
    assert_eq!(&created.data["instance"], get().await.data());
    assert_eq!(created.data["instance"]["status"], "running");
    assert_eq!(sequences(&[requested, created]), logged(&app, &user)[2..]);
    // Of the account and the sessions as well.
    app.start_session(user.id.into()).await;
    assert_eq!(stream.next().await.unwrap().name, "session-updated");
}

#[tokio::test]
async fn events_of_others_never_appear() {
    let app = TestApp::new().await;
    app.connected_backend("lab-1", 9).await;
    let (ada, eve) = (app.user("ada").await, app.user("eve").await);
    let mut stream = watch(&app, &ada).await;
    app.running_instance(&eve, "secret").await;
    app.running_instance(&ada, "web").await;
    app.running_instance(&eve, "other").await;
    app.start_session(ada.id.into()).await;
    let live = stream.until("session-updated").await;
    assert_eq!(sequences(&live), logged(&app, &ada)[2..4]);
    let mut whole = watch_with(&app, &ada.token, &[("last-event-id", &position(&app, 0))], "").await;
    let whole = whole.until("ready").await;
    assert_eq!(sequences(&whole), logged(&app, &ada));
    assert!(!format!("{live:?}{whole:?}").contains(&eve.id.to_string()));
}

#[tokio::test]
async fn events_resumed_anywhere_have_no_gap_and_no_repeat() {
    let app = TestApp::new().await;
    app.connected_backend("lab-1", 50).await;
    let user = app.user("ada").await;
    for name in ["one", "two", "three"] {
        app.running_instance(&user, name).await;
    }
    let all = logged(&app, &user);
    // From the memory of this replica, and from the log, as on a replica that has just started.
    for is_new in [false, true] {
        if is_new {
            let feed = app.app.follower.feed();
            feed.begin(feed.position());
        }
        for after in 0..=*all.last().unwrap() {
            let expected: Vec<_> = all.iter().copied().filter(|sequence| *sequence > after).collect();
            let mut stream = watch_with(&app, &user.token, &[("last-event-id", &position(&app, after))], "").await;
            assert_eq!(sequences(&stream.until("ready").await), expected, "after {after}, {is_new}");
            drop(stream);
            app.eventually("the stream is closed", async || app.app.streams.open() == 0).await;
        }
    }
    // The parameter is for what can't send the header, which wins.
    let query = format!("?after={}", position(&app, 0));
    let mut stream = watch_with(&app, &user.token, &[], &query).await;
    assert_eq!(sequences(&stream.until("ready").await), all);
    let last = position(&app, all[all.len() - 2]);
    let mut stream = watch_with(&app, &user.token, &[("last-event-id", &last)], &query).await;
    assert_eq!(sequences(&stream.until("ready").await), all[all.len() - 1..]);
}

#[tokio::test]
async fn events_that_the_read_model_lacks_are_held_back() {
    let app = TestApp::without_projector().await;
    let user = app.user("ada").await;
    let mut stream = EventReader::new(app.get(PATH).token(&user.token).send_raw().await);
    assert!(stream.until("ready").await.is_empty(), "what happened before is held back as well");
    let held = tokio::time::timeout(Duration::from_millis(200), stream.next()).await;
    assert!(held.is_err(), "{held:?}");
    app.project_all();
    assert_eq!(stream.next().await.unwrap().name, "account-updated");
}

#[tokio::test]
async fn events_position_of_another_log_or_beyond_its_end_resets() {
    let app = TestApp::new().await;
    let user = app.user("ada").await;
    let mut stream = watch_with(&app, &user.token, &[("last-event-id", "another.7")], "").await;
    let reset = stream.next().await.unwrap();
    assert_eq!((&*reset.name, &reset.data), ("reset", &json!({ "reason": "other-log" })));
    assert_eq!(reset.sequence(), app.log.last());
    stream.until("ready").await;
    tokio::time::pause();
    let mut stream = watch_with(&app, &user.token, &[("last-event-id", &position(&app, 999))], "").await;
    assert_eq!(stream.next().await.unwrap().data, json!({ "reason": "unknown-position" }));
    tokio::time::resume();
    for (headers, query, code) in
        [(&[("last-event-id", "7")][..], "", (400, "invalid_header")), (&[], "?after=7", (422, "validation_failed"))]
    {
        let request = app.get(&format!("{PATH}{query}")).token(&user.token);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer: Answer = request.send().await;
        assert_eq!(answer.error(), code, "{query}");
    }
}

#[tokio::test]
async fn events_reader_that_is_too_slow_is_told_to_fetch_again() {
    let app = TestApp::new().await;
    let (slow, quick) = (app.user("ada").await, app.user("eve").await);
    let mut stream = watch(&app, &slow).await;
    let mut other = watch(&app, &quick).await;
    for _ in 0..400 {
        app.start_session(slow.id.into()).await;
    }
    app.start_session(quick.id.into()).await;
    assert_eq!(other.next().await.unwrap().name, "session-updated", "a slow reader holds up another one");
    let before = stream.until("reset").await;
    let all = logged(&app, &slow);
    assert!(before.len() < 400, "it was not too slow");
    assert_eq!(sequences(&before), all[2..before.len() + 2], "what comes before the reset has a gap");
    app.start_session(slow.id.into()).await;
    assert_eq!(stream.next().await.unwrap().sequence(), app.log.last());
}

#[tokio::test]
async fn events_end_with_the_session() {
    let app = TestApp::new().await;
    let (ada, eve, mallory) = (app.user("ada").await, app.user("eve").await, app.user("mallory").await);
    let (token_id, token) = app.api_token(&ada, TokenScope::Read).await;
    let mut streams = [watch(&app, &ada).await, watch_with(&app, &token, &[], "").await, watch(&app, &eve).await];
    streams[1].until("ready").await;
    let mut lasting = watch(&app, &mallory).await;
    let ends = async |stream: &mut EventReader| {
        let end = loop {
            let message = stream.next().await.unwrap();
            if message.name == "end" {
                break message;
            }
        };
        assert_eq!((end.id, end.data), (None, json!({ "reason": "unauthorized" })));
        assert_eq!(stream.next().await, None);
    };
    // An API token that is revoked, a sign-out, an account that is disabled.
    let revoke = app.delete(&format!("/api/v2/user/tokens/{token_id}")).token(&ada.token).send().await;
    assert_eq!(revoke.status, 200);
    ends(&mut streams[1]).await;
    app.post("/api/v2/user/signout", json!({})).token(&ada.token).send().await;
    ends(&mut streams[0]).await;
    app.disable(eve.id).await;
    ends(&mut streams[2]).await;
    app.start_session(mallory.id.into()).await;
    assert_eq!(lasting.next().await.unwrap().name, "session-updated");
}

#[tokio::test]
async fn events_end_when_the_replica_shuts_down_or_is_cut_off() {
    let app = TestApp::new().await;
    let user = app.user("ada").await;
    let (mut shut_down, mut cut_off) = (watch(&app, &user).await, watch(&app, &user).await);
    app.log_silence_ms.store(60_001, std::sync::atomic::Ordering::Relaxed);
    tokio::time::pause();
    let reason = |end: Option<Message>| end.unwrap().data["reason"].clone();
    assert_eq!(reason(cut_off.next().await), "unavailable");
    assert_eq!(reason(shut_down.next().await), "unavailable");
    app.log_silence_ms.store(0, std::sync::atomic::Ordering::Relaxed);
    let mut shut_down = watch(&app, &user).await;
    app.app.stages.draining.cancel();
    assert_eq!(reason(shut_down.next().await), "shutdown");
    assert_eq!(shut_down.next().await, None);
}

#[tokio::test]
async fn events_beyond_the_limits_are_refused_until_a_stream_ends() {
    // Three of each user, four in all.
    let app = TestApp::new().await;
    let (ada, eve) = (app.user("ada").await, app.user("eve").await);
    let mut streams = vec![watch(&app, &ada).await, watch(&app, &ada).await, watch(&app, &ada).await];
    let refused = app.get(PATH).token(&ada.token).send().await;
    assert_eq!((refused.error(), refused.header("retry-after")), ((429, "too_many_streams"), Some("5")));
    let _other = watch(&app, &eve).await;
    let refused = app.get(PATH).token(&eve.token).send().await;
    assert_eq!((refused.error(), refused.header("retry-after")), ((503, "no_free_stream"), Some("5")));
    streams.pop();
    app.eventually("a slot is free", async || app.get(PATH).token(&eve.token).send().await.status == 200).await;
}

#[tokio::test]
async fn events_keep_alive_has_the_position_of_what_was_left_out() {
    let app = TestApp::new().await;
    let (ada, eve) = (app.user("ada").await, app.user("eve").await);
    app.settle().await;
    let request = app.get(PATH).token(&ada.token).header("accept", "application/x-ndjson");
    let response = request.send_raw().await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut body = response.into_body();
    let mut line = async || {
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        serde_json::from_slice::<Value>(&data).unwrap()
    };
    let ready = line().await;
    assert_eq!(ready, json!({ "event": "ready", "id": position(&app, app.log.last()), "data": {} }));
    app.start_session(eve.id.into()).await;
    tokio::time::pause();
    assert_eq!(line().await, json!({ "event": "keep-alive", "id": position(&app, app.log.last()) }));
    tokio::time::resume();
    app.start_session(ada.id.into()).await;
    let message = line().await;
    assert_eq!(
        (&message["event"], &message["id"]),
        (&json!("session-updated"), &json!(position(&app, app.log.last())))
    );
}

#[tokio::test]
async fn events_that_can_not_be_read_are_named() {
    let app = TestApp::new().await;
    let user = app.user("ada").await;
    let mut stream = watch(&app, &user).await;
    let sequence = app.log.put_unreadable(&AggregateId::Tenancy(user.id).to_string(), "unknown variant");
    // The projector passes it, once its aggregate is quarantined.
    app.app.progress.advance(Instances::NAME, sequence);
    let message = stream.next().await.unwrap();
    assert_eq!((&*message.name, message.sequence()), ("unreadable", sequence));
    assert_eq!(message.data["event"]["unreadable"], "unknown variant");
}

#[tokio::test]
async fn events_show_the_person_no_secrets() {
    let app = TestApp::new().await;
    let user = app.signed_up_user("ada").await;
    let mut stream = watch_with(&app, &user.token, &[("last-event-id", &position(&app, 0))], "").await;
    let shown = format!("{:?}", stream.until("ready").await);
    assert!(shown.contains("ada@example.org"), "{shown}");
    for secret in ["argon2", "erifier", "ecretHash", "$personal"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[tokio::test]
async fn events_of_a_head_request_take_no_slot() {
    let app = TestApp::new().await;
    let user = app.user("ada").await;
    for _ in 0..10 {
        let head = app.request(Method::HEAD, PATH).token(&user.token).send_raw().await;
        assert_eq!(head.status(), 200);
        drop(head);
        app.eventually("no stream is open", async || app.app.streams.open() == 0).await;
    }
}

#[tokio::test]
async fn events_from_long_ago_are_read_from_the_log_page_by_page() {
    let app = TestApp::new().await;
    let (ada, eve) = (app.user("ada").await, app.user("eve").await);
    for _ in 0..1100 {
        app.start_session(ada.id.into()).await;
    }
    app.start_session(eve.id.into()).await;
    app.settle().await;
    let feed = app.app.follower.feed();
    feed.begin(feed.position());
    let mut stream = watch_with(&app, &ada.token, &[("last-event-id", &position(&app, 0))], "").await;
    assert_eq!(sequences(&stream.until("ready").await), logged(&app, &ada));
    app.start_session(ada.id.into()).await;
    assert_eq!(stream.next().await.unwrap().sequence(), app.log.last());
}

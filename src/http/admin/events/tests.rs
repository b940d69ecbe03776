use dockhost_domain::account::Role;
use dockhost_domain::administrators::ChangedBy;
use dockhost_domain::ids::UserId;
use dockhost_harness::events::Message;

use crate::accounts::role::change_role;
use crate::http::testing::{Caller, EventReader, TestApp, origin};

const PATH: &str = "/api/v2/admin/events";

/// Opens a stream when what was stored before is shown, and no other stream is open.
async fn watch(app: &TestApp, boss: &Caller<UserId>, query: &str) -> EventReader {
    app.settle().await;
    app.eventually("no stream is open", async || app.app.streams.open() == 0).await;
    EventReader::new(app.get(&format!("{PATH}?{query}")).token(&boss.token).send_raw().await)
}

fn sequences(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(Message::sequence).collect()
}

#[tokio::test]
async fn all_events_are_those_of_the_log_without_personal_values() {
    let app = TestApp::new().await;
    app.connected_backend("lab-1", 9).await;
    let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
    app.running_instance(&ada, "web").await;
    let after = app.app.position(0);
    let mut stream = watch(&app, &boss, &format!("after={after}")).await;
    let shown = stream.until("ready").await;
    let logged: Vec<_> = app.log.events().iter().map(|event| event.sequence).collect();
    assert_eq!(sequences(&shown), logged);
    for message in &shown {
        let event = message.data["event"].to_string();
        for personal in ["\"web\"", "ada@example.org", "ssh-ed25519", "lab-1"] {
            let is_name_of_actor = message.data["event"]["actor"]["name"] == "lab-1";
            assert!(is_name_of_actor || !event.contains(personal), "{personal}: {event}");
        }
    }
    // As administrators see it among all instances.
    let instance = &shown.last().unwrap().data["instance"];
    let all = app.get("/api/v2/admin/instances").token(&boss.token).send().await;
    for member in ["instanceId", "name", "userId", "status", "generation", "sshPort"] {
        assert_eq!(instance[member], all.data()["items"][0][member], "{member}");
    }
    let lab = app.connected_backend("lab-2", 3).await;
    let of_lab = |message: &&Message| message.data["backend"]["id"] == lab.id.to_string();
    let mut live = Vec::new();
    while live.iter().filter(of_lab).count() < 2 {
        live.push(stream.next().await.unwrap());
    }
    let connected = live.last().unwrap();
    assert_eq!(connected.name, "backend-updated");
    let get = app.get(&format!("/api/v2/admin/backends/{}", lab.id)).token(&boss.token).send().await;
    for member in ["username", "maxContainers", "instances"] {
        assert_eq!(connected.data["backend"][member], get.data()[member], "{member}");
    }
    assert_eq!(connected.sequence(), app.log.last());
}

#[tokio::test]
async fn all_events_are_filtered_while_resumed_and_live() {
    let app = TestApp::new().await;
    let lab = app.connected_backend("lab-1", 9).await;
    let (boss, ada, eve) = (app.admin("boss").await, app.user("ada").await, app.user("eve").await);
    let web = app.running_instance(&ada, "web").await;
    app.running_instance(&eve, "other").await;
    let all: Vec<_> = app.log.events();
    let matching = |matches: &dyn Fn(&str, &str) -> bool| -> Vec<u64> {
        let selected = all.iter().filter(|event| {
            let kind = event.envelope.event.encode().unwrap().kind;
            matches(&event.envelope.aggregate.to_string(), &kind)
        });
        selected.map(|event| event.sequence).collect()
    };
    let (of_ada, of_eve) = (ada.id.to_string(), eve.id.to_string());
    let after = app.app.position(0);
    for (query, expected) in [
        (format!("user={}", ada.id), matching(&|subject, _| subject.ends_with(&of_ada))),
        (
            format!("instance={web}"),
            matching(&|subject, kind| subject.ends_with(&of_ada) && kind.contains(".instance.")),
        ),
        ("type=backend".to_owned(), matching(&|_, kind| kind.starts_with("dockhost.backend."))),
        (
            format!("type=instance.requested&user={}", eve.id),
            matching(&|subject, kind| subject.ends_with(&of_eve) && kind.contains(".instance.requested.")),
        ),
    ] {
        let mut stream = watch(&app, &boss, &format!("{query}&after={after}")).await;
        let shown = stream.until("ready").await;
        assert!(!expected.is_empty());
        assert_eq!(sequences(&shown), expected, "{query}");
    }
    let mut stream = watch(&app, &boss, &format!("machine={}", lab.id)).await;
    stream.until("ready").await;
    app.start_session(ada.id.into()).await;
    app.running_instance(&ada, "more").await;
    let requested = stream.next().await.unwrap();
    assert_eq!(requested.data["event"]["type"], "dockhost.instance.requested.v1");
    for query in ["user=ada", "machine=lab-1", "instance=web", "type=A", "after=x"] {
        let refused = app.get(&format!("{PATH}?{query}")).token(&boss.token).send().await;
        assert_eq!(refused.error(), (422, "validation_failed"), "{query}");
    }
}

#[tokio::test]
async fn all_events_end_when_the_role_is_taken() {
    let app = TestApp::new().await;
    let (boss, _other) = (app.admin("boss").await, app.admin("other").await);
    let mut stream = watch(&app, &boss, "").await;
    stream.until("ready").await;
    change_role(&app.app.executor, boss.id, Role::User, ChangedBy::Operator, &origin()).await.unwrap();
    let shown = stream.until("end").await;
    assert!(shown.len() <= 2, "{shown:?}");
    assert_eq!(stream.next().await, None);
    assert_eq!(app.get(PATH).token(&boss.token).send().await.error(), (403, "forbidden"));
}

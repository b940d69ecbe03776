//! What a backend may not do: anything else.

use async_nats::HeaderMap;
use dockhost_domain::subject::{BARRIER, Channel};
use futures::TryStreamExt;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;
use dockhost::broker::streams::{KEYS_BUCKET, LEADER_BUCKET};

/// Subjects that an agent might try to publish to, other than its own five.
#[tokio::test]
async fn publish_other_than_its_own_subjects_is_refused() {
    let world = World::new().await;
    let mut ada = world.ada().await;
    let (own, other) = (world.ada, world.bob);
    let id = clock::fresh_uuid();
    for subject in [
        Channel::Hello(other).to_string(),
        Channel::Confirm(other).to_string(),
        Channel::Report(other).to_string(),
        Channel::Heartbeat(other).to_string(),
        pull_subject(other),
        format!("dockhost.report.{own}.more"),
        "dockhost.report.*".to_owned(),
        format!("dockhost.assignment.{own}.{id}"),
        format!("dockhost.assignment.{other}.{id}"),
        format!("dockhost.event.account.{id}"),
        BARRIER.to_owned(),
        format!("dockhost.timer.at.{id}.1"),
        "$JS.API.INFO".to_owned(),
        "$JS.API.STREAM.NAMES".to_owned(),
        "$JS.API.STREAM.DELETE.ASSIGNMENTS".to_owned(),
        "$JS.API.STREAM.PURGE.ASSIGNMENTS".to_owned(),
        "$JS.API.STREAM.MSG.GET.ASSIGNMENTS".to_owned(),
        "$JS.API.DIRECT.GET.ASSIGNMENTS".to_owned(),
        format!("$JS.API.CONSUMER.CREATE.ASSIGNMENTS.{own}"),
        format!("$JS.API.CONSUMER.CREATE.ASSIGNMENTS.{own}.dockhost.assignment.{other}.*"),
        format!("$JS.API.CONSUMER.INFO.ASSIGNMENTS.{other}"),
        format!("$JS.API.CONSUMER.DELETE.ASSIGNMENTS.{own}"),
        format!("$JS.API.CONSUMER.DELETE.ASSIGNMENTS.{other}"),
        format!("$JS.API.CONSUMER.MSG.NEXT.REPORTS.{own}"),
        format!("$JS.ACK.ASSIGNMENTS.{other}.1.1.1.1.0"),
        format!("$KV.{LEADER_BUCKET}.leader"),
        format!("$KV.{KEYS_BUCKET}.check"),
        format!("$KV.{KEYS_BUCKET}.{other}"),
        "$SYS.REQ.USER.AUTH".to_owned(),
        "$SYS.REQ.SERVER.PING".to_owned(),
        "$SYS.ACCOUNT.MAIN.CONNECT".to_owned(),
        format!("_INBOX.{own}.x"),
        format!("_INBOX.{other}.x"),
        "_R_.x".to_owned(),
    ] {
        ada.client.publish(subject.clone(), "forged".into()).await.unwrap();
        let refusal = ada.next_event().await;
        let expected = format!("permissions violation for publish to \"{}\"", subject.to_lowercase());
        assert!(refusal.contains(&expected), "{subject}: {refusal}");
    }
}

/// The names come from the broker, so none is misspelt, and a new stream or bucket is tried as well.
#[tokio::test]
async fn publish_to_any_stream_and_its_api_is_refused() {
    let world = World::new().await;
    let mut ada = world.ada().await;
    let streams: Vec<_> = world.main.jetstream().streams().try_collect().await.unwrap();
    let names: Vec<_> = streams.iter().map(|stream| stream.config.name.as_str()).collect();
    for bucket in [KEYS_BUCKET, LEADER_BUCKET] {
        assert!(names.contains(&format!("KV_{bucket}").as_str()), "{bucket} is not in {names:?}");
    }
    for stream in &streams {
        let name = &stream.config.name;
        let stored = stream.config.subjects.iter().map(|subject| subject.replace(['>', '*'], "x"));
        let requests = ["STREAM.INFO", "STREAM.MSG.GET", "STREAM.MSG.DELETE", "STREAM.PURGE", "STREAM.UPDATE"]
            .into_iter()
            .chain(["STREAM.DELETE", "STREAM.SNAPSHOT", "DIRECT.GET", "CONSUMER.CREATE", "CONSUMER.NAMES"])
            .map(|request| format!("$JS.API.{request}.{name}"));
        for subject in stored.chain(requests) {
            ada.client.publish(subject.clone(), "{}".into()).await.unwrap();
            let refusal = ada.next_event().await;
            let expected = format!("permissions violation for publish to \"{}\"", subject.to_lowercase());
            assert!(refusal.contains(&expected), "{subject}: {refusal}");
        }
    }
}

#[tokio::test]
async fn subscribe_other_than_its_own_inbox_is_refused() {
    let world = World::new().await;
    let mut ada = world.ada().await;
    let (own, other) = (world.ada, world.bob);
    for subject in [
        ">".to_owned(),
        "*".to_owned(),
        "dockhost.>".to_owned(),
        "dockhost.hello.*".to_owned(),
        format!("dockhost.hello.{own}"),
        format!("dockhost.confirm.{own}"),
        "dockhost.report.*".to_owned(),
        "dockhost.heartbeat.*".to_owned(),
        format!("dockhost.assignment.{own}.>"),
        format!("dockhost.assignment.{other}.>"),
        "_INBOX.>".to_owned(),
        "_INBOX.*.>".to_owned(),
        format!("_INBOX.{own}"),
        format!("_INBOX.{other}.>"),
        "_R_.>".to_owned(),
        "$SYS.>".to_owned(),
        "$SYS.REQ.USER.AUTH".to_owned(),
        "$JS.>".to_owned(),
        "$JS.API.>".to_owned(),
        "$JS.ACK.>".to_owned(),
        "$KV.>".to_owned(),
        format!("$KV.{KEYS_BUCKET}.>"),
        format!("$KV.{LEADER_BUCKET}.>"),
        pull_subject(other),
    ] {
        for queue in [None, Some("dockhost")] {
            let subscription = match queue {
                None => ada.client.subscribe(subject.clone()).await.unwrap(),
                Some(queue) => ada.client.queue_subscribe(subject.clone(), queue.to_owned()).await.unwrap(),
            };
            let refusal = ada.next_event().await;
            let expected = format!("permissions violation for subscription to \"{}\"", subject.to_lowercase());
            assert!(refusal.contains(&expected), "{subject} {queue:?}: {refusal}");
            drop(subscription);
        }
    }
}

/// The broker does not check reply subjects, so within one account a reply can forge another client's message. Here the
/// replies go to the agents' account, whose imports they do not match.
#[tokio::test]
async fn request_with_a_foreign_reply_subject_forges_nothing() {
    let world = World::new().await;
    world.assign(world.ada, "ada's").await;
    world.assign(world.bob, "bob's").await;
    let bob = world.bob().await;
    bob.hello().await;
    let ada = world.ada().await;
    ada.hello().await;
    let mut messages = world.main.client().subscribe("dockhost.>").await.unwrap();
    world.main.client().flush().await.unwrap();

    let pull = json!({ "batch": 1, "no_wait": true }).to_string();
    let targets = [
        Channel::Report(world.bob).to_string(),
        Channel::Heartbeat(world.bob).to_string(),
        Channel::Hello(world.bob).to_string(),
        pull_subject(world.bob),
        format!("dockhost.assignment.{}.{}", world.bob, clock::fresh_uuid()),
        "$JS.API.STREAM.PURGE.ASSIGNMENTS".to_owned(),
        "$JS.API.STREAM.DELETE.ASSIGNMENTS".to_owned(),
    ];
    for target in &targets {
        for (subject, body) in [
            (Channel::Hello(world.ada).to_string(), "{}"),
            (Channel::Report(world.ada).to_string(), "report"),
            (pull_subject(world.ada), pull.as_str()),
        ] {
            ada.client.publish_with_reply(subject, target.clone(), body.to_owned().into()).await.unwrap();
        }
    }
    // Requests of one connection are handled in order, so the earlier ones are done when this one is answered.
    ada.client.request(Channel::Report(world.ada).to_string(), "last".into()).await.unwrap();
    ada.hello().await;

    let mut reports = world.main.jetstream().get_stream("REPORTS").await.unwrap();
    assert_eq!(reports.info().await.unwrap().state.messages, targets.len() as u64 + 1);
    let mut assignments = world.main.jetstream().get_stream("ASSIGNMENTS").await.unwrap();
    assert_eq!(assignments.info().await.unwrap().state.messages, 2);
    world.main.client().publish("dockhost.end", "".into()).await.unwrap();
    loop {
        let message = timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
        if message.subject.as_str() == "dockhost.end" {
            break;
        }
        assert!(!message.subject.contains(&world.bob.to_string()), "forged: {message:?}");
    }
    let mut pull = bob.pull(&json!({ "batch": 1, "no_wait": true })).await;
    assert_eq!(pull.next().await.payload, "bob's".as_bytes(), "bob's assignment was pulled by ada");
}

/// In a stream that allows it, headers purge, schedule a forged message, or block others with a batch.
#[tokio::test]
async fn report_with_broker_headers_is_refused() {
    let world = World::new().await;
    let (ada, bob) = (world.ada().await, world.bob().await);
    let report = async |agent: &Agent, headers: &[(&'static str, String)]| {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.insert(*name, value.as_str()));
        let subject = Channel::Report(agent.backend).to_string();
        let answer = agent.client.request_with_headers(subject, map, "report".into()).await.unwrap();
        String::from_utf8(answer.payload.to_vec()).unwrap()
    };
    report(&bob, &[]).await;
    let other = Channel::Report(world.bob).to_string();
    for headers in [
        vec![("Nats-Rollup", "all".to_owned())],
        vec![("Nats-Rollup", "sub".to_owned())],
        vec![("Nats-Schedule", "@every 1s".to_owned()), ("Nats-Schedule-Target", other)],
        vec![("Nats-TTL", "1s".to_owned())],
        vec![("Nats-Batch-Id", "b".to_owned()), ("Nats-Batch-Sequence", "1".to_owned())],
    ] {
        let answer = report(&ada, &headers).await;
        assert!(answer.contains("\"error\""), "{headers:?}: {answer}");
    }
    let answer = report(&bob, &[]).await;
    assert!(answer.contains("\"seq\":2"), "{answer}");
    let mut reports = world.main.jetstream().get_stream("REPORTS").await.unwrap();
    assert_eq!(reports.info().await.unwrap().state.messages, 2);
}

/// A backend that uses another backend's inbox prefix.
#[tokio::test]
async fn subscribe_to_the_inbox_of_another_backend_is_refused() {
    let world = World::new().await;
    let mut ada = world.connect("ada's", world.bob).await.unwrap();
    let inbox = ada.client.new_inbox();
    let _subscription = ada.client.subscribe(inbox.clone()).await.unwrap();
    let refusal = ada.next_event().await;
    assert!(refusal.contains("permissions violation for subscription"), "{refusal}");
}

#[tokio::test]
async fn subscribe_too_often_is_refused() {
    let world = World::new().await;
    let mut ada = world.ada().await;
    let mut subscriptions = Vec::new();
    for _ in 0..17 {
        subscriptions.push(ada.client.subscribe(ada.client.new_inbox()).await.unwrap());
    }
    let refusal = ada.next_event().await;
    assert!(refusal.contains("maximum subscriptions exceeded"), "{refusal}");
}

/// Without the client library, which enforces the limit itself.
#[tokio::test]
async fn publish_too_large_is_refused() {
    let world = World::new().await;
    let mut stream = BufReader::new(TcpStream::connect(world.nats.address()).await.unwrap());
    stream
        .write_all(b"CONNECT {\"auth_token\":\"ada's\",\"verbose\":false,\"pedantic\":false}\r\nPING\r\n")
        .await
        .unwrap();
    let mut received = String::new();
    while !received.ends_with("PONG\r\n") {
        assert_ne!(timeout(DEADLINE, stream.read_line(&mut received)).await.unwrap().unwrap(), 0, "{received}");
    }
    let large = format!("PUB {} {}\r\n", Channel::Report(world.ada), 16 * 1024 + 1);
    stream.write_all(large.as_bytes()).await.unwrap();
    timeout(DEADLINE, stream.read_to_string(&mut received)).await.unwrap().unwrap();
    assert!(received.contains("-ERR 'Maximum Payload Violation'"), "{received}");
}

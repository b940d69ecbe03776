//! Webhooks: every event arrives at least once and in the order of its instance, and a receiver that fails delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use dockhost::webhooks::signature::sign;
use dockhost_domain::ids::WebhookId;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::webhook::SigningSecret;
use dockhost_projections::store::MongoStore;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{INSTANCE, wait_for};
use crate::harness::http::Client;
use crate::harness::log::stored;
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

const WEBHOOKS: &str = "/api/v2/user/webhooks";
/// The networks of the receivers of this test.
const SETTINGS: [(&str, &str); 1] = [("DOCKHOST_WEBHOOK_NETWORKS", "127.0.0.1/32")];

/// What a receiver got and took, in the order of arrival.
#[derive(Default)]
struct Receiver {
    taken: Mutex<Vec<(HeaderMap, Bytes)>>,
    refused: AtomicUsize,
    fails: AtomicBool,
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if receiver.fails.load(Ordering::SeqCst) {
        receiver.refused.fetch_add(1, Ordering::SeqCst);
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    receiver.taken.lock().unwrap().push((headers, body));
    StatusCode::OK
}

impl Receiver {
    /// Starts one; returns its URL.
    async fn start(fails: bool) -> (Arc<Self>, String) {
        let receiver = Arc::new(Self { fails: fails.into(), ..Self::default() });
        let routes = Router::new().route("/hook", post(receive)).with_state(Arc::clone(&receiver));
        let routes = routes.route("/gone", post(|| async { StatusCode::GONE }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (receiver, url)
    }

    fn taken(&self) -> Vec<(HeaderMap, Value)> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|(headers, body)| (headers.clone(), serde_json::from_slice(body).unwrap())).collect()
    }

    fn sequences(&self) -> Vec<u64> {
        self.taken().iter().map(|(_, body)| body["data"]["event"]["sequence"].as_u64().unwrap()).collect()
    }

    /// Waits until it has taken each of these events.
    async fn has_all(&self, expected: &BTreeSet<u64>) {
        wait_until("the receiver has every event", DEADLINE, async || {
            let taken: BTreeSet<u64> = self.sequences().into_iter().collect();
            let missing: Vec<_> = expected.difference(&taken).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} of {expected:?}")) }
        })
        .await;
    }

    /// Every message is signed with the secret, and named by its event; of an instance, none comes first after a later one.
    fn check(&self, secret: &SigningSecret) {
        for (headers, body) in self.taken.lock().unwrap().iter() {
            let header = |name: &str| headers[name].to_str().unwrap();
            let time = Timestamp::from_millis(header("webhook-timestamp").parse::<i64>().unwrap() * 1000);
            assert_eq!(header("webhook-signature"), sign([secret], header("webhook-id"), time, body));
        }
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (headers, body) in self.taken() {
            let event = &body["data"]["event"];
            assert_eq!(event["id"], headers["webhook-id"].to_str().unwrap(), "{body}");
            let sequence = event["sequence"].as_u64().unwrap();
            // A repeat is expected after a leader's end.
            if seen.insert(sequence) {
                let lane = body["data"]["instance"]["instanceId"].as_str().or(event["subject"].as_str()).unwrap();
                let before = last.insert(lane.to_owned(), sequence);
                assert!(before.is_none_or(|before| before < sequence), "{lane}: {sequence} after {before:?}");
            }
        }
    }
}

/// A user's webhook: its path and its secret.
async fn register(user: &Client, url: &str) -> (String, SigningSecret) {
    let created = user.post(WEBHOOKS, json!({ "url": url })).await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.data()["webhook"]["id"].as_str().unwrap();
    let secret = SigningSecret::new(created.data()["signingSecret"].as_str().unwrap().to_owned());
    (format!("{WEBHOOKS}/{id}"), secret)
}

/// The sequences of all events about a user from the registration of the webhook on.
async fn told(world: &World, user: &Client) -> BTreeSet<u64> {
    let me = user.get("/api/v2/user/me").await;
    let id = me.data()["id"].as_str().unwrap_or_else(|| panic!("{me:?}")).to_owned();
    let events = stored(&world.nats).await.into_iter().filter(|event| event.subject.ends_with(&id));
    let mut events = events.skip_while(|event| event.kind != "dockhost.webhook.added.v1").peekable();
    assert!(events.peek().is_some(), "the log has no webhook of this user");
    events.map(|event| event.sequence).collect()
}

/// Creates an instance, stops it and resumes it.
async fn change(user: &Client) {
    let created = user.create().await;
    // Nobody leads for some seconds.
    assert!([201, 202].contains(&created.status), "{created:?}");
    wait_for(user, &created, "running").await;
    let id = json!({ "instanceId": created.data()["instanceId"] });
    for (action, status) in [("stop", "stopped"), ("resume", "running")] {
        let changed = user.put(&format!("{INSTANCE}/{action}"), id.clone()).await;
        assert!([200, 202].contains(&changed.status), "{changed:?}");
        wait_for(user, &created, status).await;
    }
}

/// The leader dies while one receiver fails.
#[tokio::test]
async fn webhook_receiver_that_failed_gets_every_event_in_order_also_from_a_new_leader() {
    let mut world = World::with(2, &SETTINGS).await;
    world.add_agent("alpha", 20).await;
    let (ada, eve) = (world.user("ada").await, world.user("eve").await);
    let ((failing, failing_url), (prompt, prompt_url)) = (Receiver::start(true).await, Receiver::start(false).await);
    let (of_ada, ada_secret) = register(&ada, &failing_url).await;
    let (of_eve, eve_secret) = register(&eve, &prompt_url).await;
    change(&ada).await;
    change(&eve).await;
    wait_until("several attempts have failed", DEADLINE, async || {
        let refused = failing.refused.load(Ordering::SeqCst);
        if refused >= 3 { Ok(()) } else { Err(refused) }
    })
    .await;
    prompt.has_all(&told(&world, &eve).await).await;
    let shown = ada.get(&of_ada).await;
    let failure = &shown.data()["failing"];
    assert_eq!((&shown.data()["status"], failing.taken().len()), (&json!("failing"), 0), "{shown:?}");
    assert_eq!(failure["error"], "the receiver answered with status 503", "{shown:?}");
    assert_eq!(eve.get(&of_eve).await.data()["status"], "active");

    let leader = world.leader().await;
    world.kill_replica(leader).await;
    failing.fails.store(false, Ordering::SeqCst);
    let [ada, eve] = [ada, eve].map(|client| client.at(&world.replicas[1 - leader].url));
    change(&eve).await;
    change(&ada).await;
    failing.has_all(&told(&world, &ada).await).await;
    prompt.has_all(&told(&world, &eve).await).await;
    failing.check(&ada_secret);
    prompt.check(&eve_secret);

    let deliveries = ada.get(&format!("{of_ada}/deliveries")).await;
    assert_eq!(deliveries.data()[0]["status"], 200, "{deliveries:?}");
    wait_until("the receiver is no longer shown as failing", DEADLINE, async || {
        let shown = ada.get(&of_ada).await;
        if shown.data()["status"] == "active" { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;

    // Everything after a position is sent again.
    let before = failing.taken().len();
    let first = failing.taken()[0].1["id"].as_str().unwrap().to_owned();
    let resumed = ada.post(&format!("{of_ada}/resume?from={first}"), json!({})).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    let expected = failing.sequences()[1];
    wait_until("the past is sent again", DEADLINE, async || {
        let again = failing.sequences().split_off(before);
        if again.contains(&expected) { Ok(()) } else { Err(format!("{again:?} lacks {expected}")) }
    })
    .await;
    let ping = eve.post(&format!("{of_eve}/ping"), json!({})).await;
    assert_eq!((&ping.data()["status"], &ping.data()["error"]), (&json!(200), &Value::Null), "{ping:?}");

    // A webhook that was disabled leaves nothing once it is removed.
    let (gone, _) = register(&eve, &prompt_url.replace("/hook", "/gone")).await;
    wait_until("the webhook whose receiver is gone is disabled", DEADLINE, async || {
        let shown = eve.get(&gone).await;
        if shown.data()["disabledReason"] == "gone" { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    let store = MongoStore::connect(&world.mongo.uri, &world.mongo.database).await.unwrap();
    let id: WebhookId = gone.rsplit('/').next().unwrap().parse().unwrap();
    assert!(store.webhooks_with_progress().await.unwrap().contains(&id));
    let removed = eve.send(Method::DELETE, &gone, &[], None).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    wait_until("nothing is known of the webhook that was removed", DEADLINE, async || {
        let known = store.webhooks_with_progress().await.unwrap();
        if known.contains(&id) { Err(format!("{known:?}")) } else { Ok(()) }
    })
    .await;
    world.check_log().await;
    world.verify().await;
}

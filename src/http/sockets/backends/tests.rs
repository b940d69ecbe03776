use axum::http::Method;
use dockhost_domain::backend::RevokeKey;
use http_body_util::BodyExt;
use tokio::sync::TryAcquireError;

use super::*;
use crate::http::response::Code;
use crate::http::testing::TestApp;

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";
const OF_A_BACKEND: &str = "/socket.io/?role=backend&EIO=4&transport=polling";

const PING: &str = "2";
const PONG: &str = "3";
/// Between the packets of one answer.
const SEPARATOR: char = '\u{1e}';

/// Nothing listens there: a machine's agent goes on trying.
fn nowhere() -> Broker {
    Broker::parse("nats://127.0.0.1:1").unwrap()
}

async fn app() -> TestApp {
    TestApp::with(|settings| settings.socketio_backends = Some(nowhere())).await
}

/// A client that polls.
struct Client<'a> {
    app: &'a TestApp,
    path: String,
    open: Value,
}

impl<'a> Client<'a> {
    async fn begin(app: &'a TestApp, path: &str) -> Self {
        let packet = text(app, path).await;
        let open: Value = serde_json::from_str(packet.strip_prefix('0').unwrap()).unwrap();
        Self { app, path: format!("{path}&sid={}", open["sid"].as_str().unwrap()), open }
    }

    async fn send(&self, packet: String) {
        let answer = self.app.request(Method::POST, &self.path).body(packet).send_raw().await;
        assert_eq!(answer.status(), 200);
    }

    /// The next message. A ping is answered: on a busy machine it comes before a message.
    async fn receive(&self) -> String {
        loop {
            let packets = text(self.app, &self.path).await;
            let (pings, messages): (Vec<_>, Vec<_>) = packets.split(SEPARATOR).partition(|packet| *packet == PING);
            for _ in pings {
                self.send(PONG.to_owned()).await;
            }
            if !messages.is_empty() {
                return messages.join(&SEPARATOR.to_string());
            }
        }
    }
}

async fn text(app: &TestApp, path: &str) -> String {
    let body = app.get(path).send_raw().await.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.into()).unwrap()
}

#[tokio::test]
async fn backends_that_are_switched_off_are_clients_without_a_session() {
    let app = TestApp::new().await;
    let backend = app.backend("alpha", 5).await;
    let client = Client::begin(&app, OF_A_BACKEND).await;
    let key = app.api_key(backend.id).await;
    client.send(format!("40{}", json!({ "DOCKHOST_API_KEY": key }))).await;
    assert_eq!(client.receive().await, r#"44{"message":"unauthorized"}"#);
}

#[tokio::test]
async fn backend_is_pinged_so_often_that_its_end_is_noticed_in_time() {
    let app = app().await;
    let open = Client::begin(&app, OF_A_BACKEND).await.open;
    assert_eq!((&open["pingInterval"], &open["pingTimeout"]), (&json!(5000), &json!(5000)));
    let open = Client::begin(&app, HANDSHAKE).await.open;
    assert_eq!(open["pingInterval"], json!(25_000), "of a client");
}

#[tokio::test]
async fn backend_with_a_bad_key_is_refused_in_the_words_that_it_knows() {
    let app = app().await;
    let backend = app.backend("alpha", 5).await;
    let revoked = app.api_key(backend.id).await;
    app.execute(backend.id, RevokeKey).await;
    for key in [json!("nonsense"), json!(7), json!("a.b.c"), json!(revoked)] {
        let client = Client::begin(&app, OF_A_BACKEND).await;
        client.send(format!("40{}", json!({ "DOCKHOST_API_KEY": key }))).await;
        assert_eq!(client.receive().await, r#"44{"message":"Invalid DOCKHOST_API_KEY"}"#, "{key}");
    }
}

#[tokio::test]
async fn backend_with_a_good_key_is_let_in_though_the_broker_does_not_answer() {
    let app = app().await;
    let backend = app.backend("alpha", 5).await;
    let key = app.api_key(backend.id).await;
    for lan_ip in [json!("192.0.2.7"), json!(null), json!(7), json!("http://x/")] {
        let client = Client::begin(&app, OF_A_BACKEND).await;
        client.send(format!("40{}", json!({ "DOCKHOST_API_KEY": key, "LAN_IP": lan_ip }))).await;
        assert!(client.receive().await.starts_with("40{\"sid\":"), "{lan_ip}");
    }
}

#[tokio::test]
async fn backend_may_say_its_key_by_the_documented_event() {
    let app = app().await;
    let backend = app.backend("alpha", 5).await;
    let key = app.api_key(backend.id).await;
    let introduced = async |key: Value| {
        let client = Client::begin(&app, OF_A_BACKEND).await;
        client.send("40".to_owned()).await;
        assert!(client.receive().await.starts_with("40{\"sid\":"));
        client.send(format!("420{}", json!(["authenticate", { "DOCKHOST_API_KEY": key }]))).await;
        client.receive().await
    };
    let accepted = json!([{ "success": true, "backendId": backend.id }]);
    assert_eq!(introduced(json!(key)).await, format!("430{accepted}"));
    let refused = json!([{ "success": false, "message": "Invalid DOCKHOST_API_KEY" }]);
    let answer = introduced(json!("nonsense")).await;
    assert!(answer.starts_with(&format!("430{refused}")), "{answer}");
}

#[tokio::test]
async fn backends_beyond_the_places_are_asked_to_try_again() {
    let app = app().await;
    let backends = Backends::new(&app.app, nowhere());
    backends.admit().unwrap();
    let taken = u32::try_from(MAX_MACHINES).unwrap();
    let places = backends.shared.places.try_acquire_many(taken).unwrap();
    assert_eq!(backends.admit().unwrap_err().code(), Code::Busy);
    assert_eq!(backends.shared.places.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    drop(places);
    backends.admit().unwrap();
}

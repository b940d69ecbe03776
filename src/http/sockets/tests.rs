use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, header};
use dockhost_domain::backend::RevokeKey;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::http::testing::{Answer, TestApp};

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";
/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// The status and the text of an answer.
async fn get(app: &TestApp, path: &str) -> (u16, HeaderMap, Bytes) {
    let (parts, body) = app.get(path).send_raw().await.into_parts();
    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
}

/// The id that a client which polls gets.
async fn begin(app: &TestApp) -> String {
    let (status, headers, body) = get(app, HANDSHAKE).await;
    assert_eq!(status, 200, "{body:?}");
    assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=UTF-8");
    let open: Value = serde_json::from_slice(body.strip_prefix(b"0").unwrap()).unwrap();
    open["sid"].as_str().unwrap().to_owned()
}

/// A client that polls.
struct Client<'a> {
    app: &'a TestApp,
    path: String,
    /// Packets that arrived and were not looked at.
    packets: VecDeque<String>,
}

impl<'a> Client<'a> {
    /// Joins the namespace with these credentials, when what was stored before is shown.
    async fn connect(app: &'a TestApp, auth: &Value) -> Self {
        app.settle().await;
        let path = format!("{HANDSHAKE}&sid={}", begin(app).await);
        let joined = app.request(Method::POST, &path).body(format!("40{auth}")).send_raw().await;
        assert_eq!(joined.status(), 200);
        Self { app, path, packets: VecDeque::new() }
    }

    async fn packet(&mut self) -> String {
        while self.packets.is_empty() {
            let (status, _, body) = get(self.app, &self.path).await;
            assert_eq!(status, 200, "{body:?}");
            self.packets.extend(String::from_utf8(body.into()).unwrap().split('\u{1e}').map(str::to_owned));
        }
        self.packets.pop_front().unwrap()
    }

    /// The data of the next message of this name, and the names of those before it.
    async fn until(&mut self, name: &str) -> (Value, Vec<String>) {
        let mut before = Vec::new();
        let search = async {
            loop {
                let packet = self.packet().await;
                let Some(message) = packet.strip_prefix("42") else { continue };
                let message: Value = serde_json::from_str(message).unwrap();
                if message[0] == name {
                    return message[1].clone();
                }
                before.push(message[0].as_str().unwrap().to_owned());
            }
        };
        let found = tokio::time::timeout(DEADLINE, search).await;
        (found.unwrap_or_else(|_| panic!("no {name}")), before)
    }

    /// Returns when the server has disconnected the client.
    async fn disconnected(&mut self) {
        let search = async { while self.packet().await != "41" {} };
        tokio::time::timeout(DEADLINE, search).await.expect("the client is connected");
    }
}

#[tokio::test]
async fn machine_is_told_of_its_own_status_by_its_key_and_by_its_session() {
    let app = TestApp::new().await;
    let (lab, other) = (app.connected_backend("lab-1", 5).await, app.connected_backend("lab-2", 5).await);
    let key = app.api_key(lab.id).await;
    let [mut with_key, mut with_session] = [
        Client::connect(&app, &json!({ "token": key })).await,
        Client::connect(&app, &json!({ "token": lab.token })).await,
    ];
    for client in [&mut with_key, &mut with_session] {
        assert_eq!(client.until("ready").await.1, Vec::<String>::new());
    }
    let clients = || app.app.metrics.state.socket_io_clients();
    assert_eq!(clients(), 2);
    app.cordon(other.id, true).await;
    app.cordon(lab.id, true).await;
    for client in [&mut with_key, &mut with_session] {
        let (data, before) = client.until("backend-status").await;
        assert_eq!(before, Vec::<String>::new());
        let members = ["backendId", "status", "containerCount", "cordoned"].map(|member| data[member].clone());
        assert_eq!(members, [json!(lab.id.to_string()), json!("connected"), json!(2), json!(true)], "{data}");
    }
    // Whoever has no right any more is told nothing any more.
    app.execute(lab.id, RevokeKey).await;
    with_key.disconnected().await;
    with_session.disconnected().await;
    app.eventually("nobody is connected", async || clients() == 0).await;
}

#[tokio::test]
async fn polling_session_begins_with_an_id_that_this_replica_knows() {
    let app = TestApp::new().await;
    let id = begin(&app).await;
    assert!(id.contains('~'), "{id}");
    // The client joins the namespace without credentials, and is refused.
    let request = app.request(Method::POST, &format!("{HANDSHAKE}&sid={id}"));
    assert_eq!(request.body("40").send_raw().await.status(), 200);
    let (status, _, body) = get(&app, &format!("{HANDSHAKE}&sid={id}")).await;
    assert_eq!((status, &body[..]), (200, &br#"44{"message":"unauthorized"}"#[..]));
}

#[tokio::test]
async fn polling_session_that_nobody_has_is_unknown() {
    let app = TestApp::new().await;
    let id = begin(&app).await;
    let (id, _) = id.split_once('~').unwrap();
    for unknown in [id.to_owned(), format!("{id}~b3RoZXI"), "AAAAAAAAAAAAAAHs~dGVzdA".to_owned(), "~".to_owned()] {
        let (status, headers, body) = get(&app, &format!("{HANDSHAKE}&sid={unknown}")).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &answer["message"]), (400, &"Session ID unknown".into()), "{unknown}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    }
}

#[tokio::test]
async fn socket_of_another_origin_is_refused_by_each_transport() {
    let app = TestApp::with(|settings| settings.frontends = ["https://app.example.org".to_owned()].into()).await;
    for transport in ["polling", "websocket"] {
        let path = format!("/socket.io/?EIO=4&transport={transport}");
        let answer: Answer = app.get(&path).header("origin", "http://evil.example").send().await;
        assert_eq!(answer.error(), (403, "foreign_origin"), "{answer:?}");
        let own = app.get(&path).header("origin", "https://app.example.org").send_raw().await;
        assert_ne!(own.status(), 403);
    }
}

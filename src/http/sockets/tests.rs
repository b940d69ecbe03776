use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::http::testing::{Answer, TestApp};

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";

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

#[tokio::test]
async fn polling_session_begins_with_an_id_that_this_replica_knows() {
    let app = TestApp::new().await;
    let id = begin(&app).await;
    assert!(id.contains('~'), "{id}");
    // The client joins the namespace without credentials, and is refused.
    let request = app.request(axum::http::Method::POST, &format!("{HANDSHAKE}&sid={id}"));
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

//! Invalid requests: each is refused with a documented error, none causes an internal error, none changes the log.

use std::io::{Read, Write};
use std::net::TcpStream;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::http::{Answer, Client, SSH_KEY};

const USER_UP: &str = "/api/v2/user/signup";
const USER_IN: &str = "/api/v2/user/signin";
const BACKEND_UP: &str = "/api/v2/backend/signup";
const BACKEND_IN: &str = "/api/v2/backend/signin";
const INSTANCE: &str = "/api/v2/user/instance";

/// The last sequence of the log.
async fn end_of_log(world: &World) -> u64 {
    let broker = world.nats.main().await;
    broker.jetstream().get_stream("EVENTS").await.unwrap().cached_info().state.last_sequence
}

/// Fails unless the answer is a client error in the envelope, with the request's id.
fn assert_refused(what: &str, answer: &Answer, id: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    assert_eq!(answer.header("x-request-id"), Some(id), "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}: {answer:?}");
    let body = answer.body.as_object().unwrap_or_else(|| panic!("{what}: {answer:?}"));
    let error = &body["error"];
    assert_eq!(body["success"], false, "{what}: {answer:?}");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}: {answer:?}");
    assert!(!answer.code().is_empty() && error.get("details").is_some(), "{what}: {answer:?}");
    assert_eq!(error["requestId"], id, "{what}: {answer:?}");
}

/// Sends requests, each with an id of its own, and compares the error codes.
struct Sender<'a> {
    client: &'a Client,
    sent: usize,
}

impl Sender<'_> {
    async fn raw(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
        code: &str,
    ) -> Answer {
        self.sent += 1;
        let id = format!("bad-{}", self.sent);
        let shown: String = body.as_deref().map(String::from_utf8_lossy).unwrap_or_default().chars().take(80).collect();
        let what = format!("{method} {path} {headers:?} {shown}");
        let mut headers = headers.to_vec();
        headers.push(("x-request-id", &id));
        let answer = self.client.send(method, path, &headers, body).await;
        assert_refused(&what, &answer, &id);
        assert_eq!(answer.code(), code, "{what}: {answer:?}");
        answer
    }

    async fn json(&mut self, method: Method, path: &str, body: Value, code: &str) -> Answer {
        let headers = [("content-type", "application/json")];
        self.raw(method, path, &headers, Some(body.to_string().into_bytes()), code).await
    }

    /// Expects `validation_failed` for exactly these fields.
    async fn invalid_fields(&mut self, method: Method, path: &str, body: Value, fields: &[&str]) {
        let answer = self.json(method, path, body, "validation_failed").await;
        let details = answer.body["error"]["details"].as_array().unwrap();
        let named: Vec<&str> = details.iter().map(|entry| entry["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{path}: {answer:?}");
        assert!(details.iter().all(|entry| entry["problem"].as_str().is_some_and(|p| !p.is_empty())), "{answer:?}");
    }
}

/// A sign-up with one field changed.
fn sign_up_with(field: &str, value: Value) -> Value {
    let mut body = json!({
        "username": "mallory", "email": "mallory@example.org", "password": "correct horse", "sshPublicKey": SSH_KEY
    });
    body[field] = value;
    body
}

fn backend_sign_up_with(field: &str, value: Value) -> Value {
    let mut body = json!({ "username": "mallory", "password": "a long password" });
    body[field] = value;
    body
}

/// Names with a meaning for a broker, a database, a shell or a terminal.
const HOSTILE: [&str; 18] = [
    "*",
    ">",
    "a.b",
    "a.*",
    "mallory>",
    "$JS.API.STREAM.DELETE.EVENTS",
    "dockhost.event.account.*",
    "mal lory",
    "mal\r\nlory",
    "mallory\n",
    "mal\u{0}lory",
    "mal\u{1b}[31mlory",
    "mállory",
    "Mallory",
    "../../etc/passwd",
    "{\"$ne\":null}",
    "$where",
    "",
];

#[tokio::test]
async fn api_hostile_bodies_are_refused_and_change_nothing() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let before = end_of_log(&world).await;
    let mut send = Sender { client: &ada, sent: 0 };
    let json_type = [("content-type", "application/json")];

    // Every route with a body takes a JSON object only.
    let routes = [
        (Method::POST, USER_UP),
        (Method::POST, USER_IN),
        (Method::POST, BACKEND_UP),
        (Method::POST, BACKEND_IN),
        (Method::POST, INSTANCE),
        (Method::PUT, "/api/v2/user/instance/stop"),
        (Method::PUT, "/api/v2/user/instance/resume"),
        (Method::DELETE, INSTANCE),
    ];
    for (method, path) in routes {
        for body in
            ["{", "[]", "null", "7", "\"text\"", "{\"a\":1}{", "{'a':1}", "\u{0}", " ", "{\"username\":\"\\ud800\"}"]
        {
            send.raw(method.clone(), path, &json_type, Some(body.into()), "malformed_json").await;
        }
        send.raw(method.clone(), path, &json_type, Some(vec![b'{', b'"', 0xff, 0xfe, b'"', b'}']), "malformed_json")
            .await;
        send.raw(method.clone(), path, &json_type, Some("[".repeat(60_000).into()), "malformed_json").await;
        let deep = format!("{{\"username\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        send.raw(method.clone(), path, &json_type, Some(deep.into()), "malformed_json").await;
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"]
        {
            let body = Some(b"{\"username\":\"mallory\"}".to_vec());
            send.raw(method.clone(), path, &[("content-type", kind)], body, "unsupported_media_type").await;
        }
        send.raw(method.clone(), path, &[], Some(b"{}".to_vec()), "unsupported_media_type").await;
        let large = Some(format!("{{\"username\":\"{}\"}}", "a".repeat(1 << 20)).into_bytes());
        let answer = send.raw(method.clone(), path, &json_type, large, "body_too_large").await;
        assert_eq!(answer.status, 413);
    }

    // Fields that are missing, unknown, or of another type.
    send.invalid_fields(Method::POST, USER_UP, json!({}), &["username", "email", "password"]).await;
    send.invalid_fields(Method::POST, USER_IN, json!({}), &["username", "password"]).await;
    send.invalid_fields(Method::POST, BACKEND_UP, json!({}), &["username", "password"]).await;
    send.invalid_fields(Method::PUT, "/api/v2/user/instance/stop", json!({}), &["instanceId"]).await;
    send.invalid_fields(Method::DELETE, INSTANCE, json!({}), &["instanceId"]).await;
    send.invalid_fields(Method::POST, USER_UP, sign_up_with("isAdmin", json!(true)), &["isAdmin"]).await;
    send.invalid_fields(Method::POST, USER_UP, sign_up_with("role", json!("admin")), &["role"]).await;
    send.invalid_fields(Method::POST, BACKEND_UP, backend_sign_up_with("status", json!("connected")), &["status"])
        .await;
    send.invalid_fields(Method::POST, INSTANCE, json!({ "userId": "another" }), &["userId"]).await;
    let extra = json!({ "instanceId": "some", "wanted": "deleted" });
    send.invalid_fields(Method::PUT, "/api/v2/user/instance/resume", extra, &["wanted"]).await;
    for value in [json!({ "$ne": null }), json!({ "$gt": "" }), json!(["ada"]), json!(7), json!(true), json!(1e300)] {
        for field in ["username", "email", "password", "sshPublicKey"] {
            send.invalid_fields(Method::POST, USER_UP, sign_up_with(field, value.clone()), &[field]).await;
        }
        for field in ["username", "password", "labName", "operatingSystem"] {
            send.invalid_fields(Method::POST, BACKEND_UP, backend_sign_up_with(field, value.clone()), &[field]).await;
        }
        for (path, field) in
            [(USER_IN, "username"), (USER_IN, "password"), (BACKEND_IN, "username"), (BACKEND_IN, "password")]
        {
            let mut body = json!({ "username": "ada", "password": "correct horse" });
            body[field] = value.clone();
            send.invalid_fields(Method::POST, path, body, &[field]).await;
        }
        send.invalid_fields(Method::POST, INSTANCE, json!({ "name": value }), &["name"]).await;
        send.invalid_fields(Method::POST, INSTANCE, json!({ "sshPublicKey": value }), &["sshPublicKey"]).await;
        send.invalid_fields(Method::DELETE, INSTANCE, json!({ "instanceId": value }), &["instanceId"]).await;
    }
    for value in [json!(0), json!(-1), json!(1.5), json!("5"), json!(1e9), json!({})] {
        send.invalid_fields(Method::POST, BACKEND_UP, backend_sign_up_with("maxContainers", value), &["maxContainers"])
            .await;
    }
    for value in [json!("a\nb"), json!("a\r\nb"), json!("a\u{1b}[2Jb"), json!("x".repeat(101))] {
        for field in ["labName", "operatingSystem"] {
            send.invalid_fields(Method::POST, BACKEND_UP, backend_sign_up_with(field, value.clone()), &[field]).await;
        }
    }
    for value in ["", "short", &"x".repeat(129), "nul\u{0}nul\u{0}"] {
        send.invalid_fields(Method::POST, USER_UP, sign_up_with("password", json!(value)), &["password"]).await;
    }
    for value in ["", "ada", "@", "a@", "@b", "a@b@c.org", "a b@c.org", "a@b.org\r\nBcc: all@b.org", "a@b\u{0}.org"] {
        send.invalid_fields(Method::POST, USER_UP, sign_up_with("email", json!(value)), &["email"]).await;
    }
    for name in HOSTILE {
        send.invalid_fields(Method::POST, USER_UP, sign_up_with("username", json!(name)), &["username"]).await;
        send.invalid_fields(Method::POST, BACKEND_UP, backend_sign_up_with("username", json!(name)), &["username"])
            .await;
        send.invalid_fields(Method::POST, INSTANCE, json!({ "name": name }), &["name"]).await;
    }
    for name in ["stop", "resume", "0193b3a0-0000-7000-8000-000000000001"] {
        send.invalid_fields(Method::POST, INSTANCE, json!({ "name": name }), &["name"]).await;
    }
    assert_eq!(end_of_log(&world).await, before, "an event was stored");
}

#[tokio::test]
async fn api_ssh_keys_with_more_than_a_key_are_refused() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let before = end_of_log(&world).await;
    let mut send = Sender { client: &ada, sent: 0 };
    for key in [
        String::new(),
        "hello".to_owned(),
        format!("command=\"id\" {SSH_KEY}"),
        format!("no-pty,permitopen=\"10.0.0.1:22\" {SSH_KEY}"),
        format!("{SSH_KEY}\n{SSH_KEY}"),
        format!("{SSH_KEY} ada\r\ncommand=\"id\" {SSH_KEY}"),
        format!("# comment\n{SSH_KEY}"),
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----".to_owned(),
        "ssh-dss AAAAB3NzaC1kc3MAAACBAP==".to_owned(),
        SSH_KEY[..40].to_owned(),
        format!("ssh-rsa {}", &SSH_KEY["ssh-ed25519 ".len()..]),
        "x".repeat(20_000),
    ] {
        send.invalid_fields(Method::POST, USER_UP, sign_up_with("sshPublicKey", json!(key)), &["sshPublicKey"]).await;
        send.json(Method::POST, INSTANCE, json!({ "sshPublicKey": key }), "invalid_ssh_key").await;
    }
    assert_eq!(end_of_log(&world).await, before, "an event was stored");
}

#[tokio::test]
async fn api_malformed_paths_headers_and_ids_are_refused() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let before = end_of_log(&world).await;
    let mut send = Sender { client: &ada, sent: 0 };

    for path in
        ["/no-such-path", "/api", "/api/v2/user", "/api/v2//user/instance", "/api/v2/user/instance/", "/..%2fetc"]
    {
        send.raw(Method::GET, path, &[], None, "not_found").await;
    }
    for (method, path) in [
        (Method::DELETE, "/"),
        (Method::POST, "/health"),
        (Method::GET, USER_UP),
        (Method::PATCH, INSTANCE),
        (Method::GET, "/api/v2/user/instance/stop"),
        (Method::POST, "/api/v2/operations/some"),
    ] {
        let answer = send.raw(method, path, &[], None, "method_not_allowed").await;
        assert_eq!(answer.status, 405);
    }
    // Text that names no instance and no operation, percent-encoded; and bytes that are not UTF-8.
    for id in [
        "*",
        "%3E",
        "a.b",
        "%00",
        "%0d%0aX:%20y",
        "%7B%22$ne%22:null%7D",
        "%F0%9F%8C%8A",
        "%ff%fe",
        "..%2f..",
        "%25s",
        "' OR 1=1",
    ] {
        let id = id.replace(' ', "%20");
        send.raw(Method::GET, &format!("/api/v2/user/instance/{id}"), &[], None, "not_found").await;
        send.raw(Method::GET, &format!("/api/v2/operations/{id}"), &[], None, "not_found").await;
        if !id.contains("%ff") {
            send.raw(Method::DELETE, &format!("{INSTANCE}?instanceId={id}"), &[], None, "not_found").await;
        }
    }
    send.raw(Method::DELETE, &format!("{INSTANCE}?instanceId=a&instanceId=b"), &[], None, "validation_failed").await;
    for id in HOSTILE {
        let code = if id.chars().any(|c| c.is_control() && c != '\n' && c != '\r') {
            "validation_failed"
        } else {
            "not_found"
        };
        for (method, path) in [
            (Method::PUT, "/api/v2/user/instance/stop"),
            (Method::PUT, "/api/v2/user/instance/resume"),
            (Method::DELETE, INSTANCE),
        ] {
            send.json(method, path, json!({ "instanceId": id }), code).await;
        }
    }

    let long = "k".repeat(256);
    for key in ["", long.as_str(), "kéy"] {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        send.raw(Method::POST, INSTANCE, &headers, Some(b"{}".to_vec()), "invalid_header").await;
    }
    for position in ["", "7", "a.b", "x.7", ".7", "7.", "-1.-1", "0193b3a0-0000-7000-8000-000000000001.1", "é.1"] {
        for path in [INSTANCE, "/api/v2/user/instance/some"] {
            send.raw(Method::GET, path, &[("dockhost-position", position)], None, "invalid_header").await;
        }
    }
    // A client without a token of its own.
    let anonymous = world.client(0);
    let mut send = Sender { client: &anonymous, sent: send.sent };
    let huge = format!("Bearer {}", "a".repeat(16_000));
    send.raw(Method::GET, INSTANCE, &[("authorization", &huge)], None, "unauthorized").await;
    for header in ["Basic YWRhOmFkYQ==", "Bearer", "Bearer ", "bearer a b", "é"] {
        send.raw(Method::GET, INSTANCE, &[("authorization", header)], None, "unauthorized").await;
    }
    assert_eq!(end_of_log(&world).await, before, "an event was stored");

    // A malformed request id is replaced, not echoed.
    let long_id = "i".repeat(65);
    for id in ["two words", "<script>", long_id.as_str()] {
        let answer = ada.send(Method::GET, "/no-such-path", &[("x-request-id", id)], None).await;
        let given = answer.header("x-request-id").unwrap();
        assert!(given != id && answer.body["error"]["requestId"] == given, "{answer:?}");
    }
}

/// Bytes that are not valid HTTP. The server closes the connection or refuses, and serves other clients.
#[tokio::test]
async fn api_malformed_http_is_refused_and_others_are_served() {
    let world = World::start(1).await;
    let address = world.replicas[0].url.strip_prefix("http://").unwrap().to_owned();
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(2 << 20));
    for (what, text) in [
        ("garbage", "\u{0}\u{1}\u{2}\r\n\r\n".to_owned()),
        ("too many headers", format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n")),
        ("a huge header", format!("GET / HTTP/1.1\r\nhost: x\r\n{large}\r\n")),
        ("two lengths", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_owned()),
        ("a bad length", format!("POST {USER_UP} HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n")),
        (
            "a bad chunk",
            format!(
                "POST {USER_UP} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\nzz\r\n"
            ),
        ),
    ] {
        let mut stream = TcpStream::connect(&address).unwrap();
        // The server may close the connection before everything is written.
        let _ = stream.write_all(text.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    assert_eq!(world.client(0).get("/health").await.status, 200);
}

#[tokio::test]
async fn api_unknown_preferences_are_ignored() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 10).await;
    let ada = world.user("ada").await;
    for preference in
        ["", "wait", "wait=", "wait=-1", "wait=99999999999999999999", "wait=soon", "return=minimal", "é, ;;,=", "*"]
    {
        let answer = ada.json(Method::POST, INSTANCE, &[("prefer", preference)], json!({})).await;
        assert_eq!(answer.status, 201, "{preference}: {answer:?}");
    }
}

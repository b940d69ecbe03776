//! One request: what it sends, and how it is sent and recorded.

use std::time::Duration;

use dockhost::common::clock;
use dockhost_domain::ids::UserId;
use dockhost_harness::http::{Answer, Client, SSH_KEY};
use reqwest::Method;
use serde_json::{Value, json};

use crate::history::{Kind, Operation, Outcome, Recorder};

pub const INSTANCE: &str = "/api/v2/user/instance";
/// The password of all clients.
pub const PASSWORD: &str = "correct horse";
/// Time limit of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A request to send.
#[derive(Debug, Clone)]
pub struct Request {
    pub kind: Kind,
    pub method: Method,
    pub path: String,
    pub key: Option<String>,
    pub prefer: Option<String>,
    pub position: Option<(u64, String)>,
    pub instance: Option<String>,
    pub body: Option<Value>,
}

impl Request {
    #[must_use]
    pub fn new(kind: Kind, method: Method, path: &str) -> Self {
        let path = path.to_owned();
        Self { kind, method, path, key: None, prefer: None, position: None, instance: None, body: None }
    }

    /// `GET /health`, which lists the dependencies that a replica cannot reach.
    #[must_use]
    pub fn health() -> Self {
        Self::new(Kind::Health, Method::GET, "/health")
    }
    /// Signs a user up.
    #[must_use]
    pub fn sign_up(name: &str, key: Option<String>) -> Self {
        let mut request = Self::new(Kind::SignUp, Method::POST, "/api/v2/user/signup");
        request.key = key;
        let email = format!("{name}@example.org");
        request.body = Some(json!({ "username": name, "email": email, "password": PASSWORD, "sshPublicKey": SSH_KEY }));
        request
    }

    /// Signs a user in.
    #[must_use]
    pub fn sign_in(name: &str) -> Self {
        let mut request = Self::new(Kind::SignIn, Method::POST, "/api/v2/user/signin");
        request.body = Some(json!({ "username": name, "password": PASSWORD }));
        request
    }

    /// Creates an instance.
    #[must_use]
    pub fn create(key: Option<String>, prefer: &str) -> Self {
        let mut request = Self::new(Kind::Create, Method::POST, INSTANCE);
        (request.key, request.prefer) = (key, Some(prefer.to_owned()));
        request.body = Some(json!({}));
        request
    }

    /// Stops, resumes or deletes an instance.
    #[must_use]
    pub fn change(kind: Kind, instance: &str, prefer: &str) -> Self {
        let (method, path) = match kind {
            Kind::Stop => (Method::PUT, format!("{INSTANCE}/stop")),
            Kind::Resume => (Method::PUT, format!("{INSTANCE}/resume")),
            _ => (Method::DELETE, INSTANCE.to_owned()),
        };
        let mut request = Self::new(kind, method, &path);
        request.prefer = Some(prefer.to_owned());
        request.body = Some(json!({ "instanceId": instance }));
        request.instance = Some(instance.to_owned());
        request
    }

    /// The user's instances.
    #[must_use]
    pub fn list() -> Self {
        Self::new(Kind::List, Method::GET, INSTANCE)
    }
}

/// The sequence of a `Dockhost-Position`.
pub fn sequence(position: &str) -> Option<u64> {
    position.rsplit_once('.')?.1.parse().ok()
}

/// The sender and the target of a request.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub client: &'a str,
    pub replica: usize,
    pub user: Option<UserId>,
}

/// Sends a request and records it; returns its id and the response, if any.
pub async fn send_recorded(
    client: &Client,
    caller: Caller<'_>,
    recorder: &Recorder,
    request: &Request,
) -> (String, Option<Answer>) {
    let id = clock::fresh_uuid().to_string();
    let mut headers = vec![("x-request-id", id.as_str())];
    if request.body.is_some() {
        headers.push(("content-type", "application/json"));
    }
    let position = request.position.as_ref().map(|(_, text)| text.as_str());
    for (name, value) in [
        ("idempotency-key", request.key.as_deref()),
        ("prefer", request.prefer.as_deref()),
        ("dockhost-position", position),
    ] {
        headers.extend(value.map(|value| (name, value)));
    }
    let body = request.body.as_ref().map(|body| body.to_string().into_bytes());
    let begun = recorder.now();
    let sent = client.try_send(request.method.clone(), &request.path, &headers, body);
    let answer = match tokio::time::timeout(REQUEST_TIMEOUT, sent).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error_chain(&error)),
        Err(_) => Err("timeout".to_owned()),
    };
    let outcome = match &answer {
        Ok(answer) => Outcome::Answered {
            status: answer.status,
            code: answer.code().to_owned(),
            position: answer.header("dockhost-position").and_then(sequence),
            data: recorded_data(request.kind, answer),
        },
        Err(reason) => Outcome::NoResponse { reason: reason.clone() },
    };
    let mut sent = request.body.clone().unwrap_or(Value::Null);
    if let Some(members) = sent.as_object_mut() {
        members.remove("password");
    }
    recorder.record(Operation {
        client: caller.client.to_owned(),
        request: id.clone(),
        replica: caller.replica,
        kind: request.kind,
        user: caller.user,
        key: request.key.clone(),
        position: request.position.as_ref().map(|(sequence, _)| *sequence),
        instance: request.instance.clone(),
        sent,
        begun,
        ended: recorder.now(),
        outcome,
        malformed: answer.as_ref().ok().and_then(|answer| malformed(request.kind, answer)),
    });
    (id, answer.ok())
}

/// The error with all its causes, because the first one alone tells nothing.
fn error_chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn recorded_data(kind: Kind, answer: &Answer) -> Value {
    if kind == Kind::Health {
        return answer.body.clone();
    }
    if !answer.code().is_empty() {
        return answer.body["error"]["details"].clone();
    }
    let mut data = answer.data().clone();
    if let Some(members) = data.as_object_mut() {
        members.remove("accessToken");
    }
    data
}

/// What makes a response differ from the envelope that `docs/API.md` documents.
fn malformed(kind: Kind, answer: &Answer) -> Option<String> {
    let (status, body) = (answer.status, &answer.body);
    if kind == Kind::Health && body["status"].is_string() {
        return None;
    }
    if status == 503 && answer.header("retry-after").is_none() {
        return Some("a 503 without Retry-After".to_owned());
    }
    let is_success = (200..300).contains(&status);
    let has_members = if is_success {
        body["success"] == json!(true) && body["message"].is_string() && body.get("data").is_some()
    } else {
        let error = &body["error"];
        body["success"] == json!(false)
            && body["message"].is_string()
            && error["code"].is_string()
            && error["requestId"].is_string()
    };
    (!has_members).then(|| format!("{status} with the body {body}"))
}

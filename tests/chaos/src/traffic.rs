//! Traffic: clients that send users' requests to random replicas and record all of them.
//!
//! Each client sends one request at a time. Its requests depend on the seed and on the responses. A command with a key and an
//! unknown outcome is repeated with the same key, at any replica, until the outcome is known.

use std::sync::Arc;
use std::time::Duration;

use dockhost::common::clock;
use dockhost_domain::ids::UserId;
use dockhost_harness::http::{Answer, Client, SSH_KEY};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::history::{Kind, Operation, Outcome, OutcomeClass, Recorder};

const INSTANCE: &str = "/api/v2/user/instance";
const PASSWORD: &str = "correct horse";
/// Time limit of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Attempts per command with an unknown outcome.
const MAX_ATTEMPTS: usize = 40;

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
    fn new(kind: Kind, method: Method, path: &str) -> Self {
        let path = path.to_owned();
        Self { kind, method, path, key: None, prefer: None, position: None, instance: None, body: None }
    }

    /// `GET /health`, which lists the dependencies that a replica cannot reach.
    #[must_use]
    pub fn health() -> Self {
        Self::new(Kind::Health, Method::GET, "/health")
    }
}

/// A client that acts as one user.
pub struct User {
    name: String,
    urls: Arc<[String]>,
    recorder: Recorder,
    random: StdRng,
    client: Client,
    token: Option<String>,
    id: Option<UserId>,
    sign_up_key: String,
    /// The highest position in a response so far.
    position: Option<(u64, String)>,
    instances: Vec<String>,
    counter: usize,
}

impl User {
    #[must_use]
    pub fn new(number: usize, seed: u64, urls: &Arc<[String]>, recorder: &Recorder) -> Self {
        let name = format!("user-{number}");
        Self {
            urls: Arc::clone(urls),
            recorder: recorder.clone(),
            random: StdRng::seed_from_u64(seed.wrapping_mul(1000).wrapping_add(number as u64)),
            client: Client::new(&urls[0]),
            token: None,
            id: None,
            sign_up_key: format!("signup-{seed}-{number}"),
            position: None,
            instances: Vec::new(),
            counter: 0,
            name,
        }
    }

    /// Sends requests until `stop` is cancelled; the request in flight is finished.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.send_random_request().await;
            let pause = Duration::from_millis(self.random.random_range(20..250));
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    async fn send_random_request(&mut self) {
        if self.id.is_none() {
            return self.sign_up().await;
        }
        if self.token.is_none() {
            return self.sign_in().await;
        }
        match self.random.random_range(0..100) {
            0..28 => self.create().await,
            28..54 => self.change().await,
            54..76 => self.list().await,
            76..92 => self.get().await,
            92..95 => self.sign_out().await,
            95..97 => self.sign_in().await,
            _ => self.sign_up_with_contended_name().await,
        }
    }

    async fn sign_up(&mut self) {
        let (name, key) = (self.name.clone(), self.sign_up_key.clone());
        let request = sign_up(&name, Some(key));
        if let Some(answer) = self.send_until_known(request).await
            && answer.status == 201
        {
            self.id = answer.data()["user"]["id"].as_str().and_then(|id| id.parse().ok());
            self.token = answer.data()["accessToken"].as_str().map(str::to_owned);
        }
    }

    /// Signs up with a name that other clients try to take at the same time.
    async fn sign_up_with_contended_name(&mut self) {
        let name = format!("contended-{}", self.counter / 40);
        let key = self.random.random_bool(0.5).then(|| format!("contend-{}-{}", self.name, self.counter));
        let token = self.token.take();
        let id = self.id.take();
        self.send_until_known(sign_up(&name, key)).await;
        (self.token, self.id) = (token, id);
    }

    async fn sign_in(&mut self) {
        let mut request = Request::new(Kind::SignIn, Method::POST, "/api/v2/user/signin");
        request.body = Some(json!({ "username": self.name, "password": PASSWORD }));
        if let Some(answer) = self.send(request).await
            && answer.status == 200
        {
            self.token = answer.data()["accessToken"].as_str().map(str::to_owned);
        }
    }

    async fn sign_out(&mut self) {
        self.send(Request::new(Kind::SignOut, Method::POST, "/api/v2/user/signout")).await;
        // The client does not use this session again, whatever the outcome.
        self.token = None;
    }

    async fn create(&mut self) {
        self.counter += 1;
        let mut request = Request::new(Kind::Create, Method::POST, INSTANCE);
        request.key = self.random.random_bool(0.6).then(|| format!("create-{}", self.counter));
        request.prefer = self.prefer();
        request.body = Some(if self.random.random_bool(0.3) {
            json!({ "name": format!("box-{}", self.random.random_range(0..4)) })
        } else {
            json!({})
        });
        if let Some(answer) = self.send_until_known(request).await
            && let Some(id) = answer.data()["instanceId"].as_str()
        {
            self.instances.push(id.to_owned());
        }
    }

    async fn change(&mut self) {
        let Some(instance) = self.some_instance() else { return };
        let (kind, method, path) = match self.random.random_range(0..10) {
            0..3 => (Kind::Stop, Method::PUT, "/api/v2/user/instance/stop"),
            3..6 => (Kind::Resume, Method::PUT, "/api/v2/user/instance/resume"),
            _ => (Kind::Delete, Method::DELETE, INSTANCE),
        };
        let mut request = Request::new(kind, method, path);
        request.prefer = self.prefer();
        request.body = Some(json!({ "instanceId": instance }));
        request.instance = Some(instance);
        self.send(request).await;
    }

    async fn list(&mut self) {
        let mut request = Request::new(Kind::List, Method::GET, INSTANCE);
        request.position = self.position.clone().filter(|_| self.random.random_bool(0.9));
        if let Some(answer) = self.send(request).await
            && let Some(list) = answer.data().as_array()
        {
            self.instances = list.iter().filter_map(|one| one["instanceId"].as_str().map(str::to_owned)).collect();
        }
    }

    async fn get(&mut self) {
        let Some(instance) = self.some_instance() else { return };
        let mut request = Request::new(Kind::Get, Method::GET, &format!("{INSTANCE}/{instance}"));
        request.position = self.position.clone().filter(|_| self.random.random_bool(0.9));
        request.instance = Some(instance);
        self.send(request).await;
    }

    fn some_instance(&mut self) -> Option<String> {
        self.instances.choose(&mut self.random).cloned()
    }

    fn prefer(&mut self) -> Option<String> {
        let preferences = ["respond-async", "wait=2", "wait=6"];
        preferences.choose(&mut self.random).map(|preference| (*preference).to_owned())
    }

    /// Repeats a request with a key until its outcome is known.
    async fn send_until_known(&mut self, request: Request) -> Option<Answer> {
        for _ in 0..MAX_ATTEMPTS {
            let answer = self.send(request.clone()).await;
            let unknown = answer.as_ref().is_none_or(|answer| {
                answer.status == 408 || answer.code() == "outcome_unknown" || answer.code() == "internal_error"
            });
            if !unknown || request.key.is_none() {
                return answer;
            }
            let pause = Duration::from_millis(self.random.random_range(100..600));
            tokio::time::sleep(pause).await;
        }
        None
    }

    /// Sends a request to a random replica and records it.
    async fn send(&mut self, request: Request) -> Option<Answer> {
        let replica = self.random.random_range(0..self.urls.len());
        let mut client = self.client.at(&self.urls[replica]);
        if let Some(token) = &self.token {
            client = client.with_token(token);
        }
        let caller = Caller { client: &self.name, replica, user: self.id };
        let (_, answer) = send_recorded(&client, caller, &self.recorder, &request).await;
        if let Some(position) = answer.as_ref().and_then(|answer| answer.header("dockhost-position"))
            && let Some(sequence) = sequence(position)
            && self.position.as_ref().is_none_or(|(highest, _)| *highest < sequence)
        {
            self.position = Some((sequence, position.to_owned()));
        }
        if answer.as_ref().is_some_and(|answer| answer.code() == "unauthorized") {
            self.token = None;
        }
        answer
    }
}

fn sign_up(name: &str, key: Option<String>) -> Request {
    let mut request = Request::new(Kind::SignUp, Method::POST, "/api/v2/user/signup");
    request.key = key;
    let email = format!("{name}@example.org");
    request.body = Some(json!({ "username": name, "email": email, "password": PASSWORD, "sshPublicKey": SSH_KEY }));
    request
}

fn sequence(position: &str) -> Option<u64> {
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

/// The number of requests per class of outcome, as text.
#[must_use]
pub fn summary(history: &[Operation]) -> String {
    let count = |class| history.iter().filter(|operation| operation.class() == class).count();
    format!(
        "{} requests: {} done, {} refused, {} unknown",
        history.len(),
        count(OutcomeClass::Done),
        count(OutcomeClass::Refused),
        count(OutcomeClass::Unknown)
    )
}

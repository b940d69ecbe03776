//! Traffic: clients that send users' requests to random replicas and record all of them.
//!
//! Each client sends one request at a time. Its requests depend on the seed and on the responses. A command with a key and an
//! unknown outcome is repeated with the same key, at any replica, until the outcome is known.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::ids::UserId;
use dockhost_harness::http::{Answer, Client};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::history::{Kind, Operation, OutcomeClass, Recorder};
use crate::request::{Caller, INSTANCE, Request, send_recorded, sequence};

/// Attempts per command with an unknown outcome.
const MAX_ATTEMPTS: usize = 40;

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
        let request = Request::sign_up(&name, Some(key));
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
        self.send_until_known(Request::sign_up(&name, key)).await;
        (self.token, self.id) = (token, id);
    }

    async fn sign_in(&mut self) {
        if let Some(answer) = self.send(Request::sign_in(&self.name)).await
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
        let key = self.random.random_bool(0.6).then(|| format!("create-{}", self.counter));
        let mut request = Request::create(key, self.prefer());
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
        let kind = match self.random.random_range(0..10) {
            0..3 => Kind::Stop,
            3..6 => Kind::Resume,
            _ => Kind::Delete,
        };
        let prefer = self.prefer();
        self.send(Request::change(kind, &instance, prefer)).await;
    }

    async fn list(&mut self) {
        let mut request = Request::list();
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

    fn prefer(&mut self) -> &'static str {
        ["respond-async", "wait=2", "wait=6"].choose(&mut self.random).copied().unwrap_or_default()
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

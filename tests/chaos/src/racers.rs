//! Races: one client per replica, all of one user, stop and resume one instance, which all of them create with the same
//! `Idempotency-Key`. So commands meet at different replicas, also on different sides of a partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dockhost_domain::ids::UserId;
use dockhost_harness::http::{Answer, Client};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::history::{Kind, Recorder};
use crate::request::{Caller, Request, send_recorded};

const USER: &str = "racers";
/// After so many commands of one racer all use a new instance.
const ROUND: usize = 60;

/// One racer.
pub struct Racer {
    name: String,
    replica: usize,
    client: Client,
    recorder: Recorder,
    random: StdRng,
    /// The current round of all racers; each has its own instance.
    round: Arc<AtomicUsize>,
    own_round: usize,
    id: Option<UserId>,
    instance: Option<String>,
    commands: usize,
}

impl Racer {
    /// The racers of all replicas.
    #[must_use]
    pub fn all(seed: u64, urls: &[String], recorder: &Recorder) -> Vec<Self> {
        let round = Arc::<AtomicUsize>::default();
        let racer = |(replica, url): (usize, &String)| Self {
            name: format!("racer-{replica}"),
            replica,
            client: Client::new(url),
            recorder: recorder.clone(),
            random: StdRng::seed_from_u64(seed ^ (0xACE0 + replica as u64)),
            round: Arc::clone(&round),
            own_round: 0,
            id: None,
            instance: None,
            commands: 0,
        };
        urls.iter().enumerate().map(racer).collect()
    }

    /// Sends commands until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.step().await;
            let pause = Duration::from_millis(self.random.random_range(40..200));
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    async fn step(&mut self) {
        if self.client.token().is_none() {
            return self.sign_in().await;
        }
        let round = self.round.load(Ordering::SeqCst);
        if round != self.own_round {
            (self.own_round, self.commands) = (round, 0);
            self.instance = None;
        }
        let Some(instance) = self.instance.clone() else {
            let key = format!("race-{round}");
            if let Some(answer) = self.send(Request::create(Some(key), "respond-async")).await {
                self.instance = answer.data()["instanceId"].as_str().map(str::to_owned);
            }
            return;
        };
        self.commands += 1;
        if self.commands > ROUND {
            // Only the first racer to get here ends the round.
            if self.round.compare_exchange(round, round + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                self.send(Request::change(Kind::Delete, &instance, "respond-async")).await;
            }
            return;
        }
        let kind = if self.random.random_bool(0.5) { Kind::Stop } else { Kind::Resume };
        if let Some(answer) = self.send(Request::change(kind, &instance, "respond-async")).await
            && matches!(answer.code(), "not_found" | "instance_failed")
        {
            // It could not be created: a new round.
            self.commands = ROUND;
        }
    }

    async fn sign_in(&mut self) {
        let request = if self.id.is_none() {
            Request::sign_up(USER, Some("signup-racers".to_owned()))
        } else {
            Request::sign_in(USER)
        };
        let Some(answer) = self.send(request).await else { return };
        if let Some(token) = answer.data()["accessToken"].as_str() {
            self.id = answer.data()["user"]["id"].as_str().and_then(|id| id.parse().ok());
            self.client = self.client.with_token(token);
        }
    }

    async fn send(&mut self, request: Request) -> Option<Answer> {
        let is_sign_in = matches!(request.kind, Kind::SignUp | Kind::SignIn);
        let client = if is_sign_in { self.client.without_token() } else { self.client.clone() };
        let user = if request.kind == Kind::SignUp { None } else { self.id };
        let caller = Caller { client: &self.name, replica: self.replica, user };
        let (_, answer) = send_recorded(&client, caller, &self.recorder, &request).await;
        if answer.as_ref().is_some_and(|answer| answer.code() == "unauthorized") {
            self.client = self.client.without_token();
        }
        answer
    }
}

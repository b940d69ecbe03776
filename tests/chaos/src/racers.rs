//! Races: one client per replica, all of one user, stop and resume one instance, which all of them create with the same
//! `Idempotency-Key`. So commands meet at different replicas, also on different sides of a partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::history::{Kind, Recorder};
use crate::person::Person;
use crate::request::Request;

const USER: &str = "racers";
/// After so many commands of one racer all use a new instance.
const ROUND: usize = 60;

/// One racer.
pub struct Racer {
    person: Person,
    random: StdRng,
    /// The current round of all racers; each has its own instance.
    round: Arc<AtomicUsize>,
    own_round: usize,
    instance: Option<String>,
    commands: usize,
}

impl Racer {
    /// The racers of all replicas.
    #[must_use]
    pub fn all(seed: u64, urls: &[String], recorder: &Recorder) -> Vec<Self> {
        let round = Arc::<AtomicUsize>::default();
        let racer = |(replica, url): (usize, &String)| Self {
            person: Person::new((format!("racer-{replica}"), USER.to_owned()), (replica, url), recorder),
            random: StdRng::seed_from_u64(seed ^ (0xACE0 + replica as u64)),
            round: Arc::clone(&round),
            own_round: 0,
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
        if !self.person.is_signed_in() {
            return self.person.sign_in(true).await;
        }
        let round = self.round.load(Ordering::SeqCst);
        if round != self.own_round {
            (self.own_round, self.commands) = (round, 0);
            self.instance = None;
        }
        let Some(instance) = self.instance.clone() else {
            let key = format!("race-{round}");
            if let Some(answer) = self.person.send(Request::create(Some(key), "respond-async")).await {
                self.instance = answer.data()["instanceId"].as_str().map(str::to_owned);
            }
            return;
        };
        self.commands += 1;
        if self.commands > ROUND {
            // Only the first racer to get here ends the round.
            if self.round.compare_exchange(round, round + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                self.person.send(Request::change(Kind::Delete, &instance, "respond-async")).await;
            }
            return;
        }
        let kind = if self.random.random_bool(0.5) { Kind::Stop } else { Kind::Resume };
        if let Some(answer) = self.person.send(Request::change(kind, &instance, "respond-async")).await
            && matches!(answer.code(), "not_found" | "instance_failed" | "backend_draining")
        {
            // It could not be created, or its machine is drained: a new round.
            self.commands = ROUND;
        }
    }
}

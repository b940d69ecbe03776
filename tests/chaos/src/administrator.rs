//! The administrator: drains one machine after another under the faults, and undoes each drain after a while.

use std::time::Duration;

use dockhost_domain::ids::BackendId;
use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom};
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::history::{Kind, Recorder};
use crate::person::Person;
use crate::request::{PASSWORD, Request};

/// The account that the first replica makes at its start.
const USERNAME: &str = "administrator";

/// The settings of replicas that make the account.
pub const SETTINGS: [(&str, &str); 2] = [("DOCKHOST_ADMIN_USERNAME", USERNAME), ("DOCKHOST_ADMIN_PASSWORD", PASSWORD)];

/// Between two drains, and between two attempts.
const REST_SECONDS: std::ops::Range<u64> = 8..20;
const RETRY: Duration = Duration::from_millis(500);

/// The administrator's client.
pub struct Administrator {
    /// One client per replica; each request goes to any of them.
    clients: Vec<Person>,
    machines: Vec<BackendId>,
    random: StdRng,
}

impl Administrator {
    #[must_use]
    pub fn new(seed: u64, urls: &[String], machines: Vec<BackendId>, recorder: &Recorder) -> Self {
        let client = |(replica, url): (usize, &String)| {
            Person::new((format!("administrator-{replica}"), USERNAME.to_owned()), (replica, url), recorder)
        };
        let random = StdRng::seed_from_u64(seed ^ 0xAD31);
        Self { clients: urls.iter().enumerate().map(client).collect(), machines, random }
    }

    /// Drains machines until `stop` is cancelled. The last drain may stay.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let rest = Duration::from_secs(self.random.random_range(REST_SECONDS));
            stop.run_until_cancelled(tokio::time::sleep(rest)).await;
            let Some(machine) = self.machines.choose(&mut self.random).copied() else { return };
            let within = self.random.random_range(10..40);
            let held = Duration::from_secs(self.random.random_range(4..16));
            self.send_until_done(&drain(machine, within), &stop).await;
            stop.run_until_cancelled(tokio::time::sleep(held)).await;
            self.send_until_done(&undrain(machine), &stop).await;
        }
    }

    async fn send_until_done(&mut self, request: &Request, stop: &CancellationToken) {
        while !stop.is_cancelled() && !self.send(request).await {
            stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
        }
    }

    /// Whether the request was carried out.
    async fn send(&mut self, request: &Request) -> bool {
        let Some(client) = self.clients.choose_mut(&mut self.random) else { return false };
        if !client.is_signed_in() {
            client.sign_in(false).await;
        }
        client.is_signed_in() && client.send(request.clone()).await.is_some_and(|answer| answer.status == 200)
    }
}

fn drain(machine: BackendId, within_seconds: u32) -> Request {
    let mut request = Request::new(Kind::Drain, Method::POST, &format!("/api/v2/admin/backends/{machine}/drain"));
    request.body = Some(json!({ "withinSeconds": within_seconds }));
    request
}

fn undrain(machine: BackendId) -> Request {
    Request::new(Kind::Undrain, Method::POST, &format!("/api/v2/admin/backends/{machine}/undrain"))
}

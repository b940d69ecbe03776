//! A replica that is told to stop loses no request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dockhost::dev::process::Signal;
use reqwest::Method;
use serde_json::json;

use super::INSTANCE;
use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{Balancer, World, ports, wait_until};

/// A delay that no test waits for.
const LONG_DELAY_MS: &str = "600000";

async fn signal(world: &mut World, replica: usize, signal: Signal) {
    world.replicas[replica].process.as_mut().unwrap().signal(signal).await.unwrap();
}

#[tokio::test]
async fn sigterm_command_in_flight_is_answered_202_with_its_location() {
    let mut world = World::start(1).await;
    let alpha = world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    world.pause_agent(alpha).await;
    let create = tokio::spawn({
        let ada = ada.clone();
        async move { ada.create().await }
    });
    wait_until("the create is stored", DEADLINE, async || {
        let stored = world.events_on("dockhost.event.tenancy.>").await;
        if stored.is_empty() { Err("no event") } else { Ok(()) }
    })
    .await;
    signal(&mut world, 0, Signal::Term).await;
    let answer = create.await.unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    let location = answer.header("location").unwrap().to_owned();
    let status = world.replicas[0].process.take().unwrap().wait().await.unwrap();
    assert!(status.success(), "{status}");

    world.resume_agent(alpha).await;
    world.restart_replica(0).await;
    wait_until("the operation succeeds", DEADLINE, async || {
        let operation = ada.get(&location).await;
        if operation.data()["status"] == "succeeded" { Ok(()) } else { Err(format!("{operation:?}")) }
    })
    .await;
}

#[tokio::test]
async fn sigterm_leader_hands_over_and_serves_until_the_delay_is_over() {
    let mut world = World::with(2, &[("DOCKHOST_SHUTDOWN_DELAY_MS", LONG_DELAY_MS)]).await;
    world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let leader = world.leader().await;
    let stopping = ada.at(&world.replicas[leader].url);
    signal(&mut world, leader, Signal::Term).await;
    wait_until("/health says that it stops", DEADLINE, async || {
        let health = stopping.get("/health").await;
        if (health.status, &health.body["phase"]) == (503, &json!("stopping")) {
            Ok(())
        } else {
            Err(format!("{health:?}"))
        }
    })
    .await;
    world.leader_but(Some(leader)).await;
    // The other replica's roles do the work, and this one still tells the outcome.
    let created = stopping.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("connection"), Some("close"));
    world.kill_replica(leader).await;
}

#[tokio::test]
async fn sigterm_during_the_start_ends_the_process() {
    let world = World::start(0).await;
    let mut program = world.server("serve", world.data.path().join("starting.log"));
    program.env.push(("NATS_URL", format!("nats://127.0.0.1:{}", ports::free())));
    let log = program.log.clone();
    let mut process = program.start().unwrap();
    wait_until("it waits for the broker", DEADLINE, async || {
        let text = std::fs::read_to_string(&log).unwrap();
        if text.contains("waiting for") { Ok(()) } else { Err(text) }
    })
    .await;
    process.signal(Signal::Term).await.unwrap();
    // After the patience of the start it would fail instead.
    let status = process.wait().await.unwrap();
    assert!(status.success(), "{status}\n{}", std::fs::read_to_string(log).unwrap());
}

/// How much load a rolling restart has to bear.
struct Scale {
    gets: usize,
    commands: usize,
    check_interval: Duration,
    delay_ms: &'static str,
}

#[tokio::test]
async fn rolling_restart_behind_a_balancer_fails_no_request() {
    let check_interval = Duration::from_millis(200);
    rolling_restart(Scale { gets: 300, commands: 50, check_interval, delay_ms: "2000" }).await;
}

/// With the intervals of `haproxy.cfg` and the default delay.
#[tokio::test]
#[ignore = "takes minutes: make rolling"]
async fn rolling_restart_full_scale_fails_no_request() {
    let check_interval = Duration::from_secs(2);
    rolling_restart(Scale { gets: 5_000, commands: 500, check_interval, delay_ms: "6000" }).await;
}

async fn rolling_restart(scale: Scale) {
    let mut world = World::with(3, &[("DOCKHOST_SHUTDOWN_DELAY_MS", scale.delay_ms)]).await;
    world.add_agent("alpha", 1000).await;
    let ada = world.user("ada").await;
    let urls: Vec<_> = world.replicas.iter().map(|replica| replica.url.clone()).collect();
    let balancer = Balancer::start(&urls, scale.check_interval, world.data.path()).await;
    let load = Arc::new(Load::default());
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(tokio::spawn(Arc::clone(&load).get(ada.at(&balancer.url))));
        clients.push(tokio::spawn(Arc::clone(&load).create_and_delete(ada.at(&balancer.url))));
    }
    let mut restarts = 0;
    while restarts < 3 || load.gets() < scale.gets || load.commands() < scale.commands {
        let replica = restarts % 3;
        load.wait_for_more().await;
        world.stop_replica(replica).await;
        load.wait_for_more().await;
        world.restart_replica(replica).await;
        wait_until("the restarted replica is healthy", DEADLINE, async || {
            let health = world.client(replica).get("/health").await;
            if health.status == 200 { Ok(()) } else { Err(format!("{health:?}")) }
        })
        .await;
        // The balancer must know it before the next one stops.
        tokio::time::sleep(scale.check_interval * 2).await;
        restarts += 1;
    }
    load.stop.store(true, Ordering::Relaxed);
    let failures: Vec<String> = futures::future::join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    println!("{}: {restarts} restarts, {} GETs, {} commands", balancer.kind, load.gets(), load.commands());
    assert!(failures.is_empty(), "{} failed behind {}: {failures:#?}", failures.len(), balancer.kind);
}

/// What clients do meanwhile; each returns its failures.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    gets: AtomicUsize,
    commands: AtomicUsize,
}

impl Load {
    fn gets(&self) -> usize {
        self.gets.load(Ordering::Relaxed)
    }

    fn commands(&self) -> usize {
        self.commands.load(Ordering::Relaxed)
    }

    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Waits until some requests of each kind have been answered.
    async fn wait_for_more(&self) {
        let (gets, commands) = (self.gets() + 10, self.commands() + 5);
        wait_until("the load goes on", 2 * DEADLINE, async || {
            let now = (self.gets(), self.commands());
            if now.0 >= gets && now.1 >= commands { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
    }

    async fn get(self: Arc<Self>, client: Client) -> Vec<String> {
        let mut failures = Vec::new();
        while self.runs() {
            let answer = client.try_send(Method::GET, INSTANCE, &[], None).await;
            self.gets.fetch_add(1, Ordering::Relaxed);
            failures.extend(failure(&[200], &answer));
        }
        failures
    }

    async fn create_and_delete(self: Arc<Self>, client: Client) -> Vec<String> {
        let mut failures = Vec::new();
        let headers = [("content-type", "application/json")];
        while self.runs() {
            let created = client.try_send(Method::POST, INSTANCE, &headers, Some(b"{}".into())).await;
            self.commands.fetch_add(1, Ordering::Relaxed);
            failures.extend(failure(&[201, 202], &created));
            let Ok(created) = created else { continue };
            let body = json!({ "instanceId": created.data()["instanceId"] }).to_string().into_bytes();
            let deleted = client.try_send(Method::DELETE, INSTANCE, &headers, Some(body)).await;
            self.commands.fetch_add(1, Ordering::Relaxed);
            failures.extend(failure(&[200, 202], &deleted));
        }
        failures
    }
}

fn failure(expected: &[u16], answer: &Result<Answer, reqwest::Error>) -> Option<String> {
    match answer {
        Ok(answer) if expected.contains(&answer.status) => None,
        other => Some(format!("{other:?}")),
    }
}

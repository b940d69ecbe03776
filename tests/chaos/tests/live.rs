//! The collector and the checker on a real system: the test stores an event a second time, moves the read model's checkpoint
//! past it, and adds a container that was not requested; the checker must report each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;

use dockhost::broker::streams::EVENTS;
use dockhost_chaos::checker::log::EXPECTED;
use dockhost_chaos::checker::{Invariant, check};
use dockhost_chaos::collect;
use dockhost_chaos::report::{Plan, Report, Topology};
use dockhost_chaos::system::System;
use dockhost_domain::incarnation::Incarnation;
use dockhost_harness::{World, wait_until};
use dockhost_projections::instances::Instances;
use dockhost_projections::{MongoStore, Projector};

const PLAN: Plan = Plan {
    seed: 0,
    rounds: 0,
    minutes: 0,
    topology: Topology::R1,
    replicas: 1,
    agents: 1,
    clients: 0,
    quota: 5,
    heals_within: 60,
    kinds: vec![],
    pairs: 0.0,
    max_hold_ms: 0,
    measures_availability: false,
};

async fn report(system: &System) -> Report {
    let mut observation = collect::observe(system).await.unwrap();
    observation.verified = Some(collect::verify(system).await);
    Report { plan: PLAN, history: vec![], faults: vec![], left_out: vec![], observation, unobserved: None }
}

/// Stores an event a second time without an expectation; returns its sequence.
async fn store_again(world: &World, sequence: u64) -> u64 {
    let broker = world.nats.main().await;
    let stream = broker.jetstream().get_stream(EVENTS).await.unwrap();
    let message = stream.get_raw_message(sequence).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    for (name, values) in message.headers.iter().filter(|(name, _)| !name.to_string().starts_with("Nats-")) {
        headers.insert(name.clone(), values[0].clone());
    }
    let sent = broker.jetstream().publish_with_headers(message.subject.clone(), headers, message.payload.clone());
    sent.await.unwrap().await.unwrap().sequence
}

#[tokio::test(flavor = "multi_thread")]
async fn checker_faults_in_a_real_system_are_reported() {
    let mut system = System::start(&PLAN).await;
    let ada = system.world.user("ada").await;
    let created = ada.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let valid = wait_until("the system is healthy", std::time::Duration::from_secs(60), async || {
        let valid = report(&system).await;
        let violations = check(&valid);
        if violations.is_empty() { Ok(valid) } else { Err(format!("{violations:?}")) }
    })
    .await;

    let log = &valid.observation.log;
    let requested = log.iter().find(|entry| entry.headers["ce-type"] == "dockhost.instance.requested.v1").unwrap();
    assert!(requested.headers.contains_key(EXPECTED));
    system.world.kill_replica(0).await;
    let again = store_again(&system.world, requested.sequence).await;
    let store = MongoStore::connect(&system.world.mongo.uri, &system.world.mongo.database).await.unwrap();
    let incarnation = Incarnation::from(valid.observation.incarnation.clone());
    let mut projector = Projector::<Instances>::open(store, &incarnation).await.unwrap();
    projector.advance(again).await.unwrap();
    let machine = system.world.data.path().join(&valid.observation.machines[0].name);
    let file = std::fs::read_dir(&machine).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|end| end == "jsonl")).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let put = text.lines().find(|line| line.contains("put")).unwrap();
    let instance = created.data()["instanceId"].as_str().unwrap();
    let stray = put.replace(instance, "01a20000-0000-7000-8000-000000000001").replace("\"id\":\"", "\"id\":\"stray");
    std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(format!("{stray}\n").as_bytes()).unwrap();
    system.world.restart_replica(0).await;

    let violations = check(&report(&system).await);
    for (invariant, text) in [
        (Invariant::I1, "in the log twice"),
        (Invariant::I3, "has no expectation"),
        (Invariant::I4, "names an instance that exists already"),
        (Invariant::I7, "which is not in the log"),
        (Invariant::I8, "the document is"),
        (Invariant::I9, "DIFFERENT"),
    ] {
        let hit = violations.iter().any(|violation| violation.invariant == invariant && violation.what.contains(text));
        assert!(hit, "{invariant} ({text}) is not among {violations:#?}");
    }
}

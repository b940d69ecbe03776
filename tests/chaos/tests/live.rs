//! The checker catches what is done to a real system, through everything that reads it: an event is stored a second time
//! past the adapter, the read model's checkpoint is moved over it, and a machine gets a container that nobody asked for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;

use dockhost::broker::streams::EVENTS;
use dockhost_chaos::checker::log::EXPECTED;
use dockhost_chaos::checker::{Invariant, check};
use dockhost_chaos::collect;
use dockhost_chaos::report::{Plan, Report, Topology};
use dockhost_chaos::site::Site;
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
};

async fn report(site: &Site) -> Report {
    let mut observation = collect::observe(site).await.unwrap();
    observation.verified = Some(collect::verify(site).await);
    Report { plan: PLAN, history: vec![], faults: vec![], observation }
}

/// Stores an event a second time, as a writer without an expectation would; returns where.
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
async fn what_is_planted_in_a_real_system_is_found() {
    let mut site = Site::start(&PLAN).await;
    let ada = site.world.user("ada").await;
    let created = ada.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let sound = wait_until("all is well", std::time::Duration::from_secs(60), async || {
        let sound = report(&site).await;
        let violations = check(&sound);
        if violations.is_empty() { Ok(sound) } else { Err(format!("{violations:?}")) }
    })
    .await;

    let log = &sound.observation.log;
    let requested = log.iter().find(|entry| entry.headers["ce-type"] == "dockhost.instance.requested.v1").unwrap();
    assert!(requested.headers.contains_key(EXPECTED));
    site.world.kill_replica(0).await;
    let again = store_again(&site.world, requested.sequence).await;
    let store = MongoStore::connect(&site.world.mongo.uri, &site.world.mongo.database).await.unwrap();
    let incarnation = Incarnation::from(sound.observation.incarnation.clone());
    let mut projector = Projector::<Instances>::open(store, &incarnation).await.unwrap();
    projector.advance(again).await.unwrap();
    let machine = site.world.data.path().join(&sound.observation.machines[0].name);
    let file = std::fs::read_dir(&machine).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|end| end == "jsonl")).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let put = text.lines().find(|line| line.contains("put")).unwrap();
    let instance = created.data()["instanceId"].as_str().unwrap();
    let stray = put.replace(instance, "01a20000-0000-7000-8000-000000000001").replace("\"id\":\"", "\"id\":\"stray");
    std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(format!("{stray}\n").as_bytes()).unwrap();
    site.world.restart_replica(0).await;

    let violations = check(&report(&site).await);
    for (invariant, words) in [
        (Invariant::I1, "in the log twice"),
        (Invariant::I3, "expected nothing"),
        (Invariant::I4, "is of an instance that there is"),
        (Invariant::I7, "nobody chose"),
        (Invariant::I8, "the document is"),
        (Invariant::I9, "DIFFERENT"),
    ] {
        let hit = violations.iter().any(|found| found.invariant == invariant && found.what.contains(words));
        assert!(hit, "{invariant} ({words}) is not among {violations:#?}");
    }
}

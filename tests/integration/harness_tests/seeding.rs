//! A seeded log satisfies the domain's rules, and servers find nothing to do in it.

use std::collections::BTreeMap;
use std::time::Duration;

use dockhost::event_log::{Delivery, EventLog, Filter};
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::event::Event;
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::{Status, Tenancy, check_invariants};
use futures::StreamExt;
use serde_json::json;

use crate::harness::seed::{PASSWORD, Plan};
use crate::harness::wait::DEADLINE;
use crate::harness::{Nats, Seed, World, wait_until};

const MINUTE: Duration = Duration::from_secs(60);

/// All tenancies with the number of their events; checks the invariants after each event.
async fn tenancies(log: &dyn EventLog) -> BTreeMap<UserId, (Tenancy, usize)> {
    let mut all: BTreeMap<UserId, (Tenancy, usize)> = BTreeMap::new();
    let mut events = log.follow(0, Filter::Kind("tenancy"));
    loop {
        match events.next().await.unwrap() {
            Delivery::Event(recorded) => {
                let (AggregateId::Tenancy(user), Event::Tenancy(event)) =
                    (recorded.envelope.aggregate, &recorded.envelope.event)
                else {
                    panic!("{recorded:?}");
                };
                let (tenancy, count) = all.entry(user).or_default();
                tenancy.evolve(event, &recorded.envelope.meta);
                *count += 1;
                check_invariants(tenancy).unwrap();
            }
            Delivery::CaughtUp => return all,
            Delivery::Barrier(_) | Delivery::Idle => {}
            unreadable @ Delivery::Unreadable { .. } => panic!("{unreadable:?}"),
        }
    }
}

#[tokio::test]
async fn seed_log_satisfies_the_domain_rules() {
    let mut nats = Nats::start_unsynced().await;
    let mut seed = Seed::open(&nats, 60 * 24 * MINUTE, MINUTE).await;
    seed.machines(3, 1000).await;
    let people = seed.people(30, Plan::default()).await;
    let busy = seed.busy_person(302).await;
    assert_eq!(seed.log().end(Filter::All).await.unwrap(), seed.end());

    let tenancies = tenancies(seed.log()).await;
    assert_eq!(tenancies.len(), 31);
    assert_eq!(tenancies[&busy.id].1, 302);
    for person in people.iter().chain([&busy]) {
        let (tenancy, _) = &tenancies[&person.id];
        let running: Vec<_> = tenancy.existing().map(|(id, _)| id).collect();
        assert_eq!(running, person.instances, "{}", person.name);
        assert!(
            tenancy.all().all(|(_, instance)| instance.deadline().is_none() && instance.pending_removals.is_empty())
        );
        assert!(tenancy.existing().all(|(_, instance)| instance.status() == Status::Running));
    }

    nats.reopen().await;
    let world = World::upon(nats, 1, &[]).await;
    let client = world.client(0);
    let signin = json!({ "username": people[7].name, "password": PASSWORD });
    let answer = client.post("/api/v2/user/signin", signin).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let client = client.with_token(answer.data()["accessToken"].as_str().unwrap());
    wait_until("the instances are listed", DEADLINE, async || {
        let answer = client.get("/api/v2/user/instance").await;
        if answer.data().as_array().is_some_and(|list| list.len() == 3) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let before = seed.end();
    wait_until("the read models are caught up", DEADLINE, async || {
        let health = client.get("/health").await.body;
        let models = health["projections"].as_object().unwrap();
        if models.values().all(|model| model["lag"] == 0) { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
    world.verify().await;
    let stored = world.events_on("dockhost.event.tenancy.>").await.values().sum::<usize>();
    let seeded = tenancies.values().map(|(_, count)| count).sum::<usize>();
    assert_eq!(stored, seeded, "the servers appended events after sequence {before}");
}

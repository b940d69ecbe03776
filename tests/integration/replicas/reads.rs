//! Read-your-writes: a GET with the position of a write never shows an older state, on any replica.

use std::time::Duration;

use serde_json::json;

use super::{client_per_replica, contains, create_async, is_refusal, list_after, on_both, position};
use crate::harness::wait::DEADLINE;
use crate::harness::{Direction, Topology, World, wait_until};

on_both!(reads_with_position_show_the_write_on_every_replica);

async fn reads_with_position_show_the_write_on_every_replica(topology: Topology) {
    let mut world = World::on(topology, 3, &[]).await;
    world.add_agent("alpha", 100).await;
    let ada = client_per_replica(&world, "ada").await;
    for n in 0..30 {
        let created = create_async(&ada[n % 3]).await;
        for other in [&ada[(n + 1) % 3], &ada[(n + 2) % 3]] {
            let list = list_after(other, position(&created)).await;
            assert!(contains(&list, &created), "{created:?} is not in {list:?}");
        }
    }
    // The position of another kind of event works too.
    let signin = json!({ "username": "ada", "password": "correct horse" });
    let created = create_async(&ada[0]).await;
    let signed_in = world.client(0).post("/api/v2/user/signin", signin).await;
    let list = list_after(&ada[1], position(&signed_in)).await;
    assert!(contains(&list, &created), "{created:?} is not in {list:?}");

    let position = position(&signed_in);
    for wrong in ["another.5", "5", "", &format!("{position}x")] {
        let refused = list_after(&ada[2], wrong).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_header"), "{wrong}: {refused:?}");
    }
    let ahead = format!("{}.999999999", position.rsplit_once('.').unwrap().0);
    let refused = list_after(&ada[2], &ahead).await;
    assert!(is_refusal(&refused, "not_caught_up"), "{refused:?}");
    world.verify().await;
}

/// Only the leader's link to the database is faulty.
#[tokio::test]
async fn reads_with_position_slow_projector_wait_or_are_refused() {
    let mut world = World::on(Topology::ONE.proxied(), 3, &[]).await;
    world.add_agent("alpha", 100).await;
    let ada = client_per_replica(&world, "ada").await;
    let leader = world.leader().await;
    let (writer, reader) = (&ada[(leader + 1) % 3], &ada[(leader + 2) % 3]);
    let proxy = world.replicas[leader].proxies.database.as_ref().unwrap();

    // The link transfers nothing: a GET without a position shows the old state, one with a position never does.
    proxy.half_open();
    let created = create_async(writer).await;
    let old = reader.get(super::INSTANCE).await;
    assert_eq!(old.status, 200, "{old:?}");
    assert!(!contains(&old, &created), "it was projected: {old:?}");
    for client in [reader, writer] {
        // Either another replica has taken over and projected it, or the GET is refused.
        let list = list_after(client, position(&created)).await;
        assert!(contains(&list, &created) || is_refusal(&list, "not_caught_up"), "an older state: {list:?}");
    }
    assert!(proxy.lost_bytes() > 0, "no traffic was lost");
    proxy.heal();
    wait_until("the write is projected", DEADLINE, async || {
        let list = list_after(reader, position(&created)).await;
        match list.status {
            200 if contains(&list, &created) => Ok(()),
            503 => Err(format!("{list:?}")),
            _ => panic!("an older state: {list:?}"),
        }
    })
    .await;

    // The link is slow.
    proxy.delay(Direction::Down, Duration::from_millis(300));
    let mut waited = 0;
    for _ in 0..10 {
        let created = create_async(writer).await;
        let list = list_after(reader, position(&created)).await;
        assert!(contains(&list, &created) || is_refusal(&list, "not_caught_up"), "an older state: {list:?}");
        waited += usize::from(list.status == 200);
    }
    assert!(waited > 0, "no GET waited for its position");
    proxy.heal();
    world.verify().await;
}

/// A client that sends back the position of what it saw never goes back, whichever replica it asks.
#[tokio::test]
async fn reads_with_the_position_of_the_last_read_never_go_back() {
    let mut world = World::on(Topology::ONE.proxied(), 2, &[]).await;
    world.add_agent("alpha", 100).await;
    let ada = client_per_replica(&world, "ada").await;
    let leader = world.leader().await;
    // The projector is slow, and so are the reads of that replica.
    world.replicas[leader].proxies.database.as_ref().unwrap().delay(Direction::Down, Duration::from_millis(50));
    let sequence = |position: &str| position.rsplit_once('.').unwrap().1.parse::<u64>().unwrap();
    let created = create_async(&ada[0]).await;
    let mut last = position(&created).to_owned();
    let mut seen = 1;
    for n in 0..40 {
        if n % 3 == 0 {
            create_async(&ada[n % 2]).await;
        }
        let list = list_after(&ada[(n + 1) % 2], &last).await;
        assert_eq!(list.status, 200, "{list:?}");
        assert!(sequence(position(&list)) >= sequence(&last), "{last}: {list:?}");
        let count = list.data().as_array().unwrap().len();
        assert!(count >= seen, "{seen} instances were seen before: {list:?}");
        (seen, last) = (count, position(&list).to_owned());
        // The operation is read from the log.
        let operation = ada[n % 2].get(created.header("location").unwrap()).await;
        assert!(sequence(position(&operation)) >= sequence(position(&created)), "{operation:?}");
    }
    world.verify().await;
}

//! Read your writes: an answer to a write names a position, and no replica shows anything older to who names it.

use std::time::Duration;

use serde_json::json;

use super::{ask, at_each, has, is_refusal, list_after, on_both, position};
use crate::harness::wait::DEADLINE;
use crate::harness::{Direction, Topology, World, wait_until};

on_both!(what_one_wrote_the_others_show);

async fn what_one_wrote_the_others_show(topology: Topology) {
    let mut world = World::on(topology, 3, &[]).await;
    world.add_agent("alpha", 100).await;
    let ada = at_each(&world, "ada").await;
    for n in 0..30 {
        let created = ask(&ada[n % 3]).await;
        for other in [&ada[(n + 1) % 3], &ada[(n + 2) % 3]] {
            let list = list_after(other, position(&created)).await;
            assert!(has(&list, &created), "{created:?} is not in {list:?}");
        }
    }
    // A position says how far the log was, whichever kind of event stands there.
    let signin = json!({ "username": "ada", "password": "correct horse" });
    let created = ask(&ada[0]).await;
    let signed_in = world.client(0).post("/api/v2/user/signin", signin).await;
    let list = list_after(&ada[1], position(&signed_in)).await;
    assert!(has(&list, &created), "{created:?} is not in {list:?}");

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

/// Only the replica that projects is slow at the database: without a position the others show what is there.
#[tokio::test]
async fn behind_a_slow_projector_a_position_is_waited_for_or_refused() {
    let mut world = World::on(Topology::ONE.proxied(), 3, &[]).await;
    world.add_agent("alpha", 100).await;
    let ada = at_each(&world, "ada").await;
    let leader = world.leader().await;
    let (writer, reader) = (&ada[(leader + 1) % 3], &ada[(leader + 2) % 3]);
    let cable = world.replicas[leader].cables.database.as_ref().unwrap();

    // Nothing comes through: the old state for who doesn't ask for more, and never for who does.
    cable.half_open();
    let created = ask(writer).await;
    let old = reader.get(super::INSTANCE).await;
    assert_eq!(old.status, 200, "{old:?}");
    assert!(!has(&old, &created), "it was projected all the same: {old:?}");
    for client in [reader, writer] {
        // Waited for until another replica leads and projects, or refused before that.
        let list = list_after(client, position(&created)).await;
        assert!(has(&list, &created) || is_refusal(&list, "not_caught_up"), "an older answer: {list:?}");
    }
    assert!(cable.lost_bytes() > 0, "the fault met no traffic");
    cable.heal();
    wait_until("the projector goes on", DEADLINE, async || {
        let list = list_after(reader, position(&created)).await;
        match list.status {
            200 if has(&list, &created) => Ok(()),
            503 => Err(format!("{list:?}")),
            _ => panic!("an older answer: {list:?}"),
        }
    })
    .await;

    // Everything comes through late.
    cable.delay(Direction::Down, Duration::from_millis(300));
    let mut waited = 0;
    for _ in 0..10 {
        let created = ask(writer).await;
        let list = list_after(reader, position(&created)).await;
        assert!(has(&list, &created) || is_refusal(&list, "not_caught_up"), "an older answer: {list:?}");
        waited += usize::from(list.status == 200);
    }
    assert!(waited > 0, "nobody was let wait for it");
    cable.heal();
    world.verify().await;
}

//! A session that ends on one replica is refused on all within a second.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{INSTANCE, at_each, on_both, position};
use crate::harness::wait::DEADLINE;
use crate::harness::{Topology, World, wait_until};

/// What is promised. A busy machine may be late once in a while, but not mostly.
const REVOKED: Duration = Duration::from_secs(1);
const ROUNDS: usize = 9;

on_both!(what_one_revoked_the_others_refuse);

async fn what_one_revoked_the_others_refuse(topology: Topology) {
    let world = World::on(topology, 3, &[]).await;
    at_each(&world, "ada").await;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let signin = json!({ "username": "ada", "password": "correct horse" });
        let signed_in = world.client(round % 3).post("/api/v2/user/signin", signin).await;
        let session = world.client(0).with_token(signed_in.data()["accessToken"].as_str().unwrap());
        let at: Vec<_> = world.replicas.iter().map(|replica| session.at(&replica.url)).collect();
        for client in &at {
            let list = client.get(INSTANCE).await;
            assert_eq!(list.status, 200, "{list:?}");
        }
        let signed_out = at[round % 3].post("/api/v2/user/signout", json!({})).await;
        assert_eq!(signed_out.status, 200, "{signed_out:?}");
        let revoked: u64 = position(&signed_out).rsplit('.').next().unwrap().parse().unwrap();
        let answered = Instant::now();
        for client in &at {
            wait_until("the session is refused", DEADLINE, async || {
                // Asked before: a replica that had seen the end by then must not let the session in afterwards.
                let knows = client.get("/health").await.body["log"]["position"].as_u64() >= Some(revoked);
                let answer = client.get(INSTANCE).await;
                assert!(answer.status == 401 || !knows, "it knew: {answer:?}");
                if answer.status == 401 { Ok(()) } else { Err(format!("{answer:?}")) }
            })
            .await;
        }
        took.push(answered.elapsed());
    }
    took.sort_unstable();
    assert!(took[ROUNDS / 2] < REVOKED, "{took:?}");
}

//! A session revoked on one replica is refused by each replica that has applied the revocation.

use reqwest::Method;
use serde_json::json;

use super::{INSTANCE, client_per_replica, is_refusal, on_both, position};
use crate::harness::wait::DEADLINE;
use crate::harness::{Proxy, Topology, World, wait_until};

const ROUNDS: usize = 9;

on_both!(sessions_revoked_on_one_replica_are_refused_on_all);

async fn sessions_revoked_on_one_replica_are_refused_on_all(topology: Topology) {
    let world = World::on(topology, 3, &[]).await;
    client_per_replica(&world, "ada").await;
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
        for client in &at {
            wait_until("the session is refused", DEADLINE, async || {
                // Read first: a replica that has applied the sign-out must refuse the session.
                let applied = client.get("/health").await.body["log"]["position"].as_u64() >= Some(revoked);
                let answer = client.get(INSTANCE).await;
                assert!(answer.status == 401 || !applied, "applied but accepted: {answer:?}");
                if answer.status == 401 { Ok(()) } else { Err(format!("{answer:?}")) }
            })
            .await;
        }
    }
}

/// A command is refused within a second at most, a query as soon as the replica has applied the end.
#[tokio::test]
async fn api_token_revoked_on_one_replica_is_refused_on_all() {
    let world = World::on(Topology::ONE, 3, &[]).await;
    let ada = client_per_replica(&world, "ada").await;
    for client in &ada {
        let made = client.post("/api/v2/user/tokens", json!({ "name": "script", "scope": "read" })).await;
        assert_eq!(made.status, 201, "{made:?}");
        let token = world.client(0).with_token(made.data()["accessToken"].as_str().unwrap());
        let at: Vec<_> = world.replicas.iter().map(|replica| token.at(&replica.url)).collect();
        for program in &at {
            let (list, sign_out) = (program.get(INSTANCE).await, program.get("/api/v2/user/sessions").await);
            assert_eq!((list.status, sign_out.status), (200, 200), "{list:?}");
            let stop =
                program.json(Method::PUT, "/api/v2/user/instance/stop", &[], json!({ "instanceId": "web" })).await;
            assert_eq!((stop.status, stop.code()), (403, "insufficient_scope"), "{stop:?}");
        }
        let path = format!("/api/v2/user/tokens/{}", made.data()["token"]["id"].as_str().unwrap());
        let revoked = client.send(Method::DELETE, &path, &[], None).await;
        assert_eq!(revoked.status, 200, "{revoked:?}");
        for program in &at {
            wait_until("the token is refused", DEADLINE, async || {
                let (list, tokens) = (program.get(INSTANCE).await, program.get("/api/v2/user/tokens").await);
                if (list.status, tokens.status) == (401, 401) { Ok(()) } else { Err(format!("{list:?}")) }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn signed_out_token_at_a_replica_that_is_cut_off_reads_for_a_bounded_time() {
    let world = World::on(Topology::ONE.proxied(), 2, &[("DOCKHOST_READS_WITHOUT_BROKER_MS", "3000")]).await;
    let ada = client_per_replica(&world, "ada").await;
    for client in &ada {
        assert_eq!(client.get(INSTANCE).await.status, 200);
    }
    let cut_off = &world.replicas[1].proxies.broker;
    cut_off.iter().for_each(Proxy::half_open);
    let signed_out = ada[0].post("/api/v2/user/signout", json!({})).await;
    assert_eq!(signed_out.status, 200, "{signed_out:?}");
    wait_until("queries are refused", DEADLINE, async || {
        let list = ada[1].get(INSTANCE).await;
        assert!(list.status == 200 || is_refusal(&list, "broker_unavailable"), "{list:?}");
        if list.status == 503 { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;
    cut_off.iter().for_each(Proxy::heal);
    wait_until("the session is refused", DEADLINE, async || {
        let list = ada[1].get(INSTANCE).await;
        if list.status == 401 { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;
}

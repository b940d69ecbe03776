//! Socket.IO with the unmodified client: `e2e/socket.test.mjs` against three replicas behind a balancer, and backends that speak
//! it, `e2e/gateway.test.mjs`.

use crate::harness::{ADMIN, ADMIN_PASSWORD, Topology, World};
use crate::node::{can_run, run};
use crate::structure::root;

fn has_client() -> bool {
    let has_client = root().join("e2e/node_modules/socket.io-client").is_dir();
    can_run("the tests of Socket.IO", (!has_client).then_some("e2e/node_modules (npm ci in e2e/)"))
}

#[tokio::test]
async fn socket_io_backends_run_instances_over_any_replica() {
    if !has_client() {
        return;
    }
    let [username, password] = ADMIN;
    let world = World::with(2, &[username, password, ("DOCKHOST_SOCKETIO_BACKENDS", "true")]).await;
    let urls: Vec<&str> = world.replicas.iter().map(|replica| replica.url.as_str()).collect();
    let pid = world.replicas[1].process.as_ref().unwrap().pid().unwrap();
    let settings = [
        ("DOCKHOST_REPLICAS", urls.join(",")),
        ("DOCKHOST_PID", pid.to_string()),
        ("DOCKHOST_ADMIN_PASSWORD", ADMIN_PASSWORD.to_owned()),
    ];
    run(&["gateway.test.mjs"], &settings).await;
}

#[tokio::test]
async fn socket_io_clients_are_told_of_changes_on_any_replica() {
    if !has_client() {
        return;
    }
    let mut world = World::on(Topology::ONE, 3, &ADMIN).await;
    world.add_agent("alpha", 20).await;
    let urls: Vec<&str> = world.replicas.iter().map(|replica| replica.url.as_str()).collect();
    // Requests of the tests themselves go to the first one.
    let pid = world.replicas[2].process.as_ref().unwrap().pid().unwrap();
    let settings = [
        ("DOCKHOST_REPLICAS", urls.join(",")),
        ("DOCKHOST_PID", pid.to_string()),
        ("DOCKHOST_ADMIN_PASSWORD", ADMIN_PASSWORD.to_owned()),
    ];
    run(&["socket.test.mjs"], &settings).await;
}

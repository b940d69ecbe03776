//! Socket.IO with the unmodified client: `e2e/socket.test.mjs` against three replicas behind a balancer.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::harness::{ADMIN, ADMIN_PASSWORD, Topology, World};
use crate::structure::root;

/// Far longer than a run takes.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn socket_io_clients_are_told_of_changes_on_any_replica() {
    let e2e = root().join("e2e");
    if !e2e.join("node_modules/socket.io-client").is_dir() {
        assert!(std::env::var_os("CI").is_none(), "the client of Socket.IO is missing: run `npm ci` in e2e/");
        eprintln!("left out: the client of Socket.IO is missing (npm ci in e2e/)");
        return;
    }
    let mut world = World::on(Topology::ONE, 3, &ADMIN).await;
    world.add_agent("alpha", 20).await;
    let urls: Vec<&str> = world.replicas.iter().map(|replica| replica.url.as_str()).collect();
    // Requests of the tests themselves go to the first one.
    let pid = world.replicas[2].process.as_ref().unwrap().pid().unwrap();
    let mut command = Command::new("node");
    command.args(["--test", "socket.test.mjs"]).current_dir(e2e).stdin(Stdio::null()).kill_on_drop(true);
    command.env("DOCKHOST_REPLICAS", urls.join(",")).env("DOCKHOST_PID", pid.to_string());
    command.env("DOCKHOST_ADMIN_PASSWORD", ADMIN_PASSWORD);
    let output = tokio::time::timeout(RUN_TIMEOUT, command.output()).await.expect("the tests do not end").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

//! Commands that run beside servers: they take the streams as they are.

use std::collections::BTreeMap;

use async_nats::jetstream::stream::Config;
use futures::TryStreamExt;

use crate::harness::wait::DEADLINE;
use crate::harness::{Nats, World, run, wait_until};

/// The configuration of every stream and bucket.
async fn configurations(nats: &Nats) -> BTreeMap<String, Config> {
    let mut streams: Vec<_> = nats.main().await.jetstream().streams().try_collect().await.unwrap();
    streams.drain(..).map(|info| (info.config.name.clone(), info.config)).collect()
}

/// A command has its own environment, often without the size limit that the servers were given.
#[tokio::test]
async fn commands_beside_a_server_leave_its_streams_as_they_are() {
    let world = World::with(1, &[("DOCKHOST_LOG_MAX_BYTES", "2147483648")]).await;
    world.user("ada").await;
    let replica = world.client(0);
    wait_until("the read models hold the log", DEADLINE, async || replica.models_hold_log().await).await;
    let before = configurations(&world.nats).await;
    assert_eq!(before["EVENTS"].max_bytes, 2_147_483_648);
    let mut env = world.server_env();
    env.push(("DOCKHOST_LOG_MAX_BYTES", "1073741824".to_owned()));
    let commands: [&[&str]; 6] = [
        &["verify"],
        &["rebuild"],
        &["quarantine", "list"],
        &["quarantine", "list", "--scan"],
        &["export", "exported"],
        &["erase-user", "ada", "--yes"],
    ];
    for args in commands {
        let output = run(world.data.path(), args, &env).await;
        assert_eq!(output.code, 0, "{args:?}: {output:?}");
        assert_eq!(configurations(&world.nats).await, before, "{args:?}");
    }
}

#[tokio::test]
async fn commands_without_a_log_say_so_and_create_nothing() {
    let world = World::start(0).await;
    let commands: [&[&str]; 5] =
        [&["verify"], &["rebuild"], &["quarantine", "list"], &["export", "exported"], &["erase-user", "ada", "--yes"]];
    for args in commands {
        let output = run(world.data.path(), args, &world.server_env()).await;
        assert_eq!(output.code, 1, "{args:?}: {output:?}");
        assert!(output.err.contains("the broker has no stream EVENTS"), "{args:?}: {output:?}");
        assert!(configurations(&world.nats).await.is_empty(), "{args:?} created a stream");
    }
}

//! The broker loses the stream of reports while no server runs: agents report again.

use std::time::Duration;

use dockhost::broker::streams::REPORTS;

use super::{INSTANCE, create_async};
use crate::harness::topology::{Members, Nodes};
use crate::harness::{Topology, World, wait_until};

const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);
/// Longer than the test takes.
const CREATE_WITHIN: (&str, &str) = ("DOCKHOST_CREATE_WITHIN_MS", "120000");
const BROKER_OF_THREE: Topology = Topology { broker: Nodes::Three, database: Members::Shared, proxied: false };

#[tokio::test]
async fn reports_lost_unread_are_sent_again_before_the_deadline_of_their_instances() {
    let mut world = World::on(BROKER_OF_THREE, 1, &[CREATE_WITHIN]).await;
    let alpha = world.add_agent_with("alpha", 10, &[("DOCKHOST_SIMULATE_DELAY_MS", "1500")]).await;
    let ada = world.user("ada").await;
    let created = create_async(&ada).await;
    wait_until("the agent begins", RECOVERY_DEADLINE, async || {
        let containers = world.containers(alpha);
        if containers.now.is_empty() { Err(format!("{containers:?}")) } else { Ok(()) }
    })
    .await;
    world.kill_replica(0).await;
    let broker = world.nats.main().await;
    wait_until("the agent's last report waits", RECOVERY_DEADLINE, async || {
        let log = world.agent_log(alpha);
        let stream = broker.jetstream().get_stream(REPORTS).await.map_err(|error| error.to_string())?;
        let waiting = stream.cached_info().state.messages;
        let is_running = log.contains("phase: Running");
        if waiting > 0 && is_running { Ok(()) } else { Err(format!("{waiting} reports wait; {log}")) }
    })
    .await;
    broker.jetstream().delete_stream(REPORTS).await.unwrap();
    world.restart_replica(0).await;
    let (ada, id) = (ada.at(&world.replicas[0].url), created.data()["instanceId"].as_str().unwrap());
    wait_until("the instance runs", RECOVERY_DEADLINE, async || {
        let found = ada.get(&format!("{INSTANCE}/{id}")).await;
        if found.status == 200 && found.data()["status"] == "running" { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    assert!(world.agent_log(alpha).contains("lost the stream of reports"), "{}", world.agent_log(alpha));
    let containers = world.containers(alpha);
    assert_eq!((containers.ever.len(), containers.most), (1, 1), "{containers:?}");
    world.verify().await;
}

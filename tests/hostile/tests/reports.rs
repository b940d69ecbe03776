//! Reports about what is not the backend's.

use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_harness::wait::DEADLINE;
use dockhost_harness::wait_until;
use dockhost_hostile::raw::{Raw, publish};
use dockhost_hostile::system;
use futures::TryStreamExt;

/// Each such report used to leave an assignment `deleted` behind, which nobody removed.
#[tokio::test(flavor = "multi_thread")]
async fn reports_about_unknown_instances_leave_no_assignment() {
    let (world, hostile) = system::start(1).await;
    let fresh = dockhost::common::clock::fresh_uuid;
    let mut raw = Raw::connect(world.nats.address(), &hostile.key).await.unwrap();
    for _ in 0..50 {
        let body = serde_json::json!({
            "type": "instance-created", "instanceId": InstanceId::from_uuid(fresh()), "userId": UserId::from_uuid(fresh()),
            "placement": 1, "generation": 1, "phase": "running", "containerId": "c",
            "ports": { "ssh": 1, "http": 2, "https": 3 },
        });
        raw.send(&publish(&format!("dockhost.report.{}", hostile.id), None, &body.to_string())).await.unwrap();
    }
    let broker = world.nats.main().await;
    wait_until("the reports are processed", DEADLINE, async || {
        let state = broker.jetstream().get_stream("REPORTS").await.unwrap().cached_info().state.clone();
        if state.last_sequence >= 50 && state.messages == 0 { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
    let stream = broker.jetstream().get_stream("ASSIGNMENTS").await.unwrap();
    let filter = format!("dockhost.assignment.{}.>", hostile.id);
    let left: Vec<_> = stream.info_with_subjects(filter).await.unwrap().try_collect().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

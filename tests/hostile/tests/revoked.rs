//! A key that is revoked while its holder floods the broker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dockhost_harness::wait::DEADLINE;
use dockhost_harness::{ADMIN, World, wait_until};
use dockhost_hostile::flood::{self, Counts, Flood, Kind};
use dockhost_hostile::raw::Raw;
use dockhost_hostile::system::{self, Hostile};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The broker answers these itself, so the servers do not cut this flood off: only the revocation does.
const PINGS: Flood = Flood { kind: Kind::Pings, per_second: 5000, connections: 4 };
const HELLOS: Flood = Flood { kind: Kind::Hellos, per_second: 5000, connections: 2 };

fn start(flood: Flood, broker: SocketAddr, by: &Hostile, stop: &CancellationToken) -> (JoinHandle<()>, Arc<Counts>) {
    let (by, stop, counts) = (by.clone(), stop.clone(), Arc::<Counts>::default());
    let counting = Arc::clone(&counts);
    (tokio::spawn(async move { flood::run(flood, broker, &[by], stop, &counting).await }), counts)
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_key_under_flood_gets_nothing() {
    let mut world = World::with(2, &ADMIN).await;
    let revoked = system::register(&mut world, "revoked").await;
    let another = system::register(&mut world, "another").await;
    let quiet = system::register(&mut world, "quiet").await;
    let broker = world.nats.address();
    let stop = CancellationToken::new();
    let (pinging, pings) = start(PINGS, broker, &revoked, &stop);
    let (greeting, hellos) = start(HELLOS, broker, &another, &stop);
    wait_until("the floods run", DEADLINE, async || {
        let runs =
            pings.connected.load(Ordering::SeqCst) == PINGS.connections && hellos.sent.load(Ordering::SeqCst) > 0;
        if runs { Ok(()) } else { Err(format!("{pings:?} {hellos:?}")) }
    })
    .await;
    assert_eq!(pings.cut.load(Ordering::SeqCst), 0, "{pings:?}");

    let admin = world.admin().await;
    let answer = admin.post(&format!("/api/v2/admin/backends/{}/revoke", revoked.id), json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    wait_until("every connection is cut, and the key refused", DEADLINE, async || {
        let (cut, refused) = (pings.cut.load(Ordering::SeqCst), pings.refused.load(Ordering::SeqCst));
        if cut >= PINGS.connections && refused >= PINGS.connections { Ok(()) } else { Err(format!("{pings:?}")) }
    })
    .await;
    let connected = pings.connected.load(Ordering::SeqCst);
    // A key that is not revoked is still accepted, so the refusals prove something.
    wait_until("a quiet machine connects", DEADLINE, async || {
        Raw::connect(broker, &quiet.key).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let refused = pings.refused.load(Ordering::SeqCst);
    wait_until("the key is refused again and again", DEADLINE, async || {
        let now = pings.refused.load(Ordering::SeqCst);
        if now >= refused + 2 * PINGS.connections { Ok(()) } else { Err(format!("{pings:?}")) }
    })
    .await;
    assert_eq!(pings.connected.load(Ordering::SeqCst), connected, "the revoked key was accepted: {pings:?}");
    let name = json!({ "username": "revoked", "password": "a long password" });
    let signed_in = world.client(1).post("/api/v2/backend/signin", name).await;
    assert_eq!((signed_in.status, signed_in.data().get("apiKey")), (403, None), "{signed_in:?}");
    stop.cancel();
    pinging.await.unwrap();
    greeting.await.unwrap();
}

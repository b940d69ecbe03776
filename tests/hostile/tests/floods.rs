//! Floods at small scale: an honest user's creates succeed, the leader keeps its lease, no honest machine is judged lost,
//! and no connection of a server is cut. `make hostile` sends more and measures times.

use std::time::Duration;

use dockhost_hostile::flood::{Flood, Kind};
use dockhost_hostile::run::{self, Phases};
use dockhost_hostile::system;

const PHASES: Phases = Phases { length: Duration::from_secs(2), least_creates: 5 };

async fn flood_does_no_damage(kind: Kind, per_second: u64) {
    let (world, hostile) = system::start(2).await;
    let user = world.user("ada").await;
    let flood = Flood { kind, per_second, connections: 2 };
    let outcome = run::run(&world, &hostile, &user, flood, PHASES).await;
    assert_eq!(outcome.damage(), Vec::<String>::new(), "{outcome:#?}");
    assert!(outcome.cut > 0 && outcome.refused > 0, "the flood was not cut off: {outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_reports_damages_no_honest_user() {
    flood_does_no_damage(Kind::Reports, 5000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_hellos_damages_no_honest_user() {
    flood_does_no_damage(Kind::Hellos, 5000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_confirms_damages_no_honest_user() {
    flood_does_no_damage(Kind::Confirms, 5000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_heartbeats_damages_no_honest_user() {
    flood_does_no_damage(Kind::Heartbeats, 5000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_large_hellos_damages_no_honest_user() {
    flood_does_no_damage(Kind::LargeHellos, 1000).await;
}

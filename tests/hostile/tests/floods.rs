//! Floods at small scale: an honest user's creates succeed, the leader keeps its lease, no honest machine is judged lost,
//! and no connection of a server is cut. `make hostile` sends more and measures times.

use std::time::Duration;

use dockhost_harness::World;
use dockhost_hostile::flood::{Flood, Kind};
use dockhost_hostile::run::{self, Attack, Phases};
use dockhost_hostile::sockets::{Behaviour, Sockets};
use dockhost_hostile::system::{self, Hostile};

const PHASES: Phases = Phases { length: Duration::from_secs(2), least_creates: 5 };

async fn flood_does_no_damage(kind: Kind, per_second: u64) {
    let (world, hostile) = system::start(2).await;
    attack_does_no_damage(&world, &[hostile], kind, per_second).await;
}

async fn attack_does_no_damage(world: &World, keys: &[Hostile], kind: Kind, per_second: u64) {
    let user = world.user("ada").await;
    let attack = Attack::Messages(Flood { kind, per_second, connections: 2 });
    let outcome = run::run(world, keys, &user, attack, PHASES).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_valid_heartbeats_damages_no_honest_user() {
    flood_does_no_damage(Kind::ValidHeartbeats, 5000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_valid_reports_damages_no_honest_user() {
    let (world, hostile) = system::start_with_instances(2).await;
    attack_does_no_damage(&world, &[hostile], Kind::ValidReports, 5000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_with_several_keys_damages_no_honest_user() {
    let (mut world, hostile) = system::start(2).await;
    let mut keys = vec![hostile];
    for n in 0..4 {
        keys.push(system::register(&mut world, &format!("hostile-{n}")).await);
    }
    attack_does_no_damage(&world, &keys, Kind::Reports, 5000).await;
}

/// One address takes its whole share of connections, and tries to get more.
async fn sockets_do_no_damage(behaviour: Behaviour) {
    dockhost::app::open_files::raise_limit(1024);
    let (world, _) = system::start(1).await;
    let user = world.user("ada").await;
    let attack = Attack::Connections(Sockets { behaviour, connections: 260, addresses: 1 });
    let outcome = run::run(&world, &[], &user, attack, PHASES).await;
    assert_eq!(outcome.damage(), Vec::<String>::new(), "{outcome:#?}");
    assert!(outcome.cut > 0, "no connection beyond the share of an address was closed: {outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_sockets_damage_no_honest_user() {
    sockets_do_no_damage(Behaviour::Silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_damage_no_honest_user() {
    sockets_do_no_damage(Behaviour::SlowHead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_answers_damage_no_honest_user() {
    sockets_do_no_damage(Behaviour::Unread).await;
}

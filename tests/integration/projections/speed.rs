//! How fast a projector is; run by hand: `cargo test --release -- --ignored --nocapture projector_speed`.

use std::time::Instant;

use dockhost_projections::instances::Instances;
use dockhost_projections::rebuild::rebuild;
use dockhost_projections::verify::verify;

use super::events::{Log, requested, runs};
use super::{log, open, store};

const INSTANCES: u64 = 5_000;
const EVENTS: u64 = 20_000;

#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn projector_speed() {
    let store = store().await;
    let events: Vec<_> = (1..=EVENTS)
        .map(|n| match n {
            n if n <= INSTANCES => requested(n, n % 50, n, &format!("web-{n}"), "ssh-ed25519 AAAAC3Nza"),
            n => runs(n, n * 7 % INSTANCES % 50, n * 7 % INSTANCES + 1),
        })
        .collect();
    let rate = |began: Instant| EVENTS as f64 / began.elapsed().as_secs_f64();
    let mut projector = open::<Instances>(&store).await;
    let began = Instant::now();
    for batch in events.chunks(500) {
        projector.apply(batch).await.unwrap();
    }
    println!("batches of 500: {:.0} events/s", rate(began));
    let history = Log::of(log("one"), &events);
    let began = Instant::now();
    assert!(verify::<Instances>(&store, &history, &mut |_| {}).await.unwrap().is_equal());
    println!("verified: {:.0} events/s", rate(began));
    let began = Instant::now();
    rebuild::<Instances>(&store, &history, &mut |_| {}).await.unwrap();
    println!("rebuilt: {:.0} events/s", rate(began));
    let began = Instant::now();
    for event in &events[EVENTS as usize - 500..] {
        let again = runs(event.sequence + 500, 1, 1);
        match projector.apply(std::slice::from_ref(&again)).await {
            Ok(_) => {}
            Err(_) => projector = open::<Instances>(&store).await,
        }
    }
    println!("one by one: {:.0} events/s", 500.0 / began.elapsed().as_secs_f64());
}

//! `GET /api/v2/user/instance` of somebody with three instances, against a bare handler that does the same `find`; and
//! whether it stays the same when 100,000 instances of others are stored.

use bson::{Document, doc};
use dockhost_harness::World;
use hyper::Method;
use mongodb::Collection;

use crate::load::{closed_loop, request};
use crate::place::{address, clients, median, running};
use crate::report::{Figure, Target, short};
use crate::{Effort, bare};

const ROW: &str = "reads";
const CLIENTS: usize = 32;
const PATH: &str = "/api/v2/user/instance";
const INSTANCES: [u64; 3] = [100, 10_000, 100_000];

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut world = World::start(1).await;
    world.add_agent("reads", 10).await;
    let reader = world.user("reader").await;
    for _ in 0..3 {
        running(&reader).await;
    }
    let (_bare, bare_url) = bare::start(world.server_env(), world.data.path().join("bare.log")).await;
    let bare_address = vec![address(&bare_url); CLIENTS];
    let stored = mongodb::Client::with_uri_str(&world.mongo.uri).await.unwrap();
    let stored: Collection<Document> = stored.database(&world.mongo.database).collection("instances");

    let mut figures = Vec::new();
    let mut shares = Vec::new();
    for size in INSTANCES {
        fill(&stored, size / effort.divisor).await;
        let (mut ratios, mut ours, mut raw, mut p99) = (vec![], vec![], vec![], vec![]);
        for _ in 0..effort.turns {
            let token = reader.token().map(str::to_owned);
            let ask = move |path: &str| request(Method::GET, path, token.as_deref(), None);
            let ask_bare = ask.clone();
            let bare = closed_loop(bare_address.clone(), effort.turn, move |_, _| ask_bare("/")).await;
            let dockhost = closed_loop(clients(&world, 0, CLIENTS), effort.turn, move |_, _| ask(PATH)).await;
            assert_eq!((bare.refused, dockhost.refused), (0, 0), "some answers were no answers");
            ratios.push(dockhost.rate / bare.rate);
            ours.push(dockhost.rate);
            raw.push(bare.rate);
            p99.push(dockhost.millis(0.99));
        }
        let (ratio, rate) = (median(ratios), median(ours));
        shares.push(ratio);
        let told = format!("{}/s, p99 {} ms", short(rate), short(median(p99)));
        figures.push(
            Figure::told(ROW, format!("list of 3 instances, {} stored", size / effort.divisor), told)
                .beside(format!("{}/s", short(median(raw))))
                .judged(ratio, Target::AtLeast(0.7)),
        );
    }
    // Beside the bare handler's, because the machine is not the same from minute to minute.
    let flat = shares[shares.len() - 1] / shares[0];
    let what = format!("{} stored against {}", INSTANCES[2] / effort.divisor, INSTANCES[0] / effort.divisor);
    figures.push(Figure::told(ROW, what, format!("{} of the share", short(flat))).judged(flat, Target::AtLeast(0.9)));
    figures
}

/// Adds instances of others, copies of a real one but for the ids, until there are so many.
async fn fill(stored: &Collection<Document>, size: u64) {
    let model = stored.find_one(doc! {}).await.unwrap().unwrap();
    let mut missing = size.saturating_sub(stored.count_documents(doc! {}).await.unwrap());
    while missing > 0 {
        let batch = missing.min(1000);
        let copies = (0..batch).map(|_| {
            let mut copy = model.clone();
            copy.insert("_id", dockhost::common::clock::fresh_uuid().to_string());
            copy.insert("userId", dockhost::common::clock::fresh_uuid().to_string());
            copy
        });
        stored.insert_many(copies).await.unwrap();
        missing -= batch;
    }
}

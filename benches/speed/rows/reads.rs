//! `GET /api/v2/user/instance` for a user with three instances, compared with a bare handler that runs the same `find`;
//! and whether the rate stays the same with 100,000 instances of other users in the collection.

use bson::{Document, doc};
use dockhost_harness::World;
use hyper::Method;
use mongodb::Collection;

use crate::load::{closed_loop, request};
use crate::report::{Figure, Target, short};
use crate::setup::{address, clients, median, running};
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
    let stored: Collection<Document> = stored.database(&world.mongo.database).collection("instances_v1");

    let mut figures = Vec::new();
    let mut shares = Vec::new();
    for size in INSTANCES {
        fill(&stored, size / effort.divisor).await;
        let (mut ratios, mut ours, mut raw, mut p99) = (vec![], vec![], vec![], vec![]);
        for _ in 0..effort.repetitions {
            let token = reader.token().map(str::to_owned);
            let ask = move |path: &str| request(Method::GET, path, token.as_deref(), None);
            let ask_bare = ask.clone();
            let bare = closed_loop(bare_address.clone(), effort.span, move |_, _| ask_bare("/")).await;
            let dockhost = closed_loop(clients(&world, 0, CLIENTS), effort.span, move |_, _| ask(PATH)).await;
            assert_eq!((bare.refused, dockhost.refused), (0, 0), "some requests failed");
            ratios.push(dockhost.rate / bare.rate);
            ours.push(dockhost.rate);
            raw.push(bare.rate);
            p99.push(dockhost.millis(0.99));
        }
        let (ratio, rate) = (median(ratios), median(ours));
        shares.push(ratio);
        let text = format!("{}/s, p99 {} ms", short(rate), short(median(p99)));
        figures.push(
            Figure::new(ROW, format!("list of 3 instances, {} stored", size / effort.divisor), text)
                .with_raw_limit(format!("{}/s", short(median(raw))))
                .judged(ratio, Target::AtLeast(0.7)),
        );
    }
    // Compares the ratios to the bare handler, because the speed of the machine varies from minute to minute.
    let flat = shares[shares.len() - 1] / shares[0];
    let what = format!("{} stored against {}", INSTANCES[2] / effort.divisor, INSTANCES[0] / effort.divisor);
    figures.push(Figure::new(ROW, what, format!("{} of the share", short(flat))).judged(flat, Target::AtLeast(0.9)));
    figures
}

/// Adds copies of an instance under other ids and users until the collection has `size` documents.
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

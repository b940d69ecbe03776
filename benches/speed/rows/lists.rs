//! Pages of the list of all instances, as the API answers them and as the pages of administrators show them: the rate of the
//! first page compared with a bare handler that runs the same `find`, whether it stays the same with 100,000 instances, and how
//! long each page of so many takes.

use std::net::SocketAddr;

use bson::{Document, doc};
use dockhost::common::clock;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::personal::Personal;
use dockhost_harness::{ADMIN, World};
use dockhost_projections::instances::InstanceDocument;
use dockhost_projections::store::MongoStore;
use hyper::Method;
use mongodb::Collection;

use crate::load::{Load, closed_loop, request};
use crate::report::{Figure, Target, short};
use crate::setup::{address, clients, median, running};
use crate::{Effort, bare};

const ROW: &str = "lists";
const CLIENTS: usize = 8;
const PEOPLE: usize = 20;
const INSTANCES: [u64; 2] = [1_000, 100_000];
const API: &str = "/api/v2/admin/instances";
/// The first page of all instances.
const FIRST_PAGES: [(&str, &str); 2] = [("as JSON", API), ("as HTML", "/admin/parts/instances")];
/// The longest that a page may take, in milliseconds.
const LONGEST: f64 = 200.0;
/// Documents per insertion.
const BATCH: u64 = 1_000;

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut world = World::with(1, &ADMIN).await;
    world.add_agent("lists", 10).await;
    let admin = world.admin().await;
    let token = admin.token().unwrap().to_owned();
    let mut made: Option<InstanceId> = None;
    for number in 0..PEOPLE {
        let person = world.user(&format!("person-{number}")).await;
        if made.is_none() {
            made = Some(running(&person).await.parse().unwrap());
        }
    }
    let listed = admin.get("/api/v2/admin/users").await;
    let people = listed.data()["items"].as_array().unwrap().iter();
    let people: Vec<UserId> = people.map(|user| user["id"].as_str().unwrap().parse().unwrap()).collect();
    let store = MongoStore::connect(&world.mongo.uri, &world.mongo.database).await.unwrap();
    let model = store.instance(made.unwrap()).await.unwrap().value.unwrap();
    let stored = mongodb::Client::with_uri_str(&world.mongo.uri).await.unwrap();
    let stored: Collection<Document> = stored.database(&world.mongo.database).collection("instances_v1");
    let (_bare, bare_url) = bare::start(world.server_env(), world.data.path().join("bare.log")).await;
    let bare_address = vec![address(&bare_url); CLIENTS];

    let mut figures = Vec::new();
    let mut shares = Vec::new();
    for size in INSTANCES.map(|size| size / effort.divisor) {
        fill(&stored, &model, &people, size).await;
        for (what, path) in FIRST_PAGES {
            let (mut ratios, mut ours, mut raw, mut p99) = (vec![], vec![], vec![], vec![]);
            for _ in 0..effort.repetitions {
                let bare = page(bare_address.clone(), effort, bare::PAGE, &token).await;
                let dockhost = page(clients(&world, 0, CLIENTS), effort, path, &token).await;
                ratios.push(dockhost.rate / bare.rate);
                ours.push(dockhost.rate);
                raw.push(bare.rate);
                p99.push(dockhost.millis(0.99));
            }
            let (ratio, rate, p99) = (median(ratios), median(ours), median(p99));
            shares.push(ratio);
            let text = format!("{}/s, p99 {} ms, {} of the raw limit", short(rate), short(p99), short(ratio));
            let figure = Figure::new(ROW, format!("first page of {size}, {what}"), text);
            figures.push(figure.with_raw_limit(format!("{}/s", short(median(raw)))));
        }
    }
    let [fewest, most] = INSTANCES.map(|size| size / effort.divisor);
    for (index, (what, _)) in FIRST_PAGES.iter().enumerate() {
        // Compares the ratios to the bare handler, because the speed of the machine varies from minute to minute.
        let flat = shares[FIRST_PAGES.len() + index] / shares[index];
        let what = format!("first page of {most} against {fewest}, {what}");
        let figure = Figure::new(ROW, what, format!("{} of the share", short(flat)));
        figures.push(figure.judged(flat, Target::AtLeast(0.9)));
    }
    for (what, path) in pages(&stored, &people).await {
        let p99 = page(clients(&world, 0, 1), effort, &path, &token).await.millis(0.99);
        let figure = Figure::new(ROW, format!("{what}, {most} stored, p99, ms"), format!("{} ms", short(p99)));
        figures.push(figure.judged(p99, Target::AtMost(LONGEST)));
    }
    figures
}

/// Asks for a page again and again.
async fn page(addresses: Vec<SocketAddr>, effort: Effort, path: &str, token: &str) -> Load {
    let (path, token) = (path.to_owned(), token.to_owned());
    let load = closed_loop(addresses, effort.span, move |_, _| request(Method::GET, &path, Some(&token), None)).await;
    assert_eq!(load.refused, 0, "some requests failed");
    load
}

/// Pages that are found each in its own way, and how the first one of all is shown.
async fn pages(stored: &Collection<Document>, people: &[UserId]) -> Vec<(&'static str, String)> {
    let near_the_end = stored.find_one(doc! {}).sort(doc! { "_id": -1 }).skip(20).await.unwrap().unwrap();
    let cursor = near_the_end.get_str("_id").unwrap();
    vec![
        ("first page as HTML", "/admin/instances".to_owned()),
        ("last page", format!("{API}?cursor={cursor}")),
        ("few by their name", format!("{API}?name=web-00099")),
        ("the oldest tenth by its name", format!("{API}?name=web-00")),
        ("a later tenth by its name", format!("{API}?name=web-04")),
        ("one person's", format!("{API}?user={}", people[0])),
        ("running", format!("{API}?status=running")),
        ("unreachable (none)", format!("{API}?status=unreachable")),
        ("overdue (none)", format!("{API}?overdue=true")),
        ("created long ago (none)", format!("{API}?createdBefore=2020-01-01T00:00:00Z")),
    ]
}

/// Adds what the fold makes of such an instance, under other ids and names and of all people, until there are `size` documents.
async fn fill(stored: &Collection<Document>, model: &InstanceDocument, people: &[UserId], size: u64) {
    let mut number = stored.count_documents(doc! {}).await.unwrap();
    while number < size {
        let batch = number..size.min(number + BATCH);
        number = batch.end;
        let owners = people.iter().cycle();
        let copies = batch.zip(owners).map(|(number, owner)| copy(model, *owner, number));
        stored.insert_many(copies).await.unwrap();
    }
}

fn copy(model: &InstanceDocument, owner: UserId, number: u64) -> Document {
    let mut state = model.state.clone();
    state.name = Personal::Plain(format!("web-{number:06}").parse().unwrap());
    let copy = InstanceDocument::of(InstanceId::from_uuid(clock::fresh_uuid()), owner, state, model.seq);
    bson::serialize_to_document(&serde_json::to_value(copy).unwrap()).unwrap()
}

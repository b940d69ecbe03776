//! The database is dropped, emptied or replaced by an older copy while the servers run. An answer that is not marked as
//! stale shows a state of the log at most 5 s old, and one with a position is never older than that; afterwards the read
//! models match the log.

use std::collections::BTreeMap;

use mongodb::bson::{Document, doc};
use mongodb::options::{ReadConcern, WriteConcern};
use mongodb::{ClientSession, Database};
use reqwest::Method;
use serde_json::{Value, json};

use super::{INSTANCE, client_per_replica, create_async, is_refusal, list_after, position};
use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{Topology, World, wait_until};

/// A system with two replicas and a user who has one running instance.
async fn world(topology: Topology) -> (World, Vec<Client>) {
    let mut world = World::on(topology, 2, &[]).await;
    world.add_agent("alpha", 100).await;
    let ada = client_per_replica(&world, "ada").await;
    assert_eq!(ada[0].create().await.status, 201);
    (world, ada)
}

async fn wait_for_models(clients: &[Client]) {
    for client in clients {
        wait_until("the read models hold the log", DEADLINE, async || client.models_hold_log().await).await;
    }
}

/// Reads at every replica, with and without a position, until all show `expected` again. Nothing else is shown unmarked.
async fn read_until_complete(clients: &[Client], expected: &Value, after: &str) {
    for client in clients {
        wait_until("the list is complete again", DEADLINE, async || {
            let (plain, positioned) = (client.get(INSTANCE).await, list_after(client, after).await);
            for (list, may_be_stale) in [(&plain, true), (&positioned, false)] {
                let is_marked = may_be_stale && list.header("dockhost-stale").is_some();
                let is_refused = is_refusal(list, "not_caught_up") || is_refusal(list, "database_unavailable");
                assert!(is_marked || is_refused || list.data() == expected, "{after}: {list:?} is not {expected:?}");
            }
            let health = client.get("/health").await;
            let is_complete = plain.header("dockhost-stale").is_none()
                && [&plain, &positioned].iter().all(|list| list.status == 200 && list.data() == expected);
            if is_complete && health.body["status"] == "healthy" {
                Ok(())
            } else {
                Err(format!("{plain:?}, {}", health.body))
            }
        })
        .await;
    }
}

/// The state of the idle system, and the position of its last command.
async fn idle_state(ada: &[Client]) -> (Value, String) {
    wait_for_models(ada).await;
    let list = ada[0].get(INSTANCE).await;
    assert_eq!((list.status, list.header("dockhost-stale")), (200, None), "{list:?}");
    (list.data().clone(), position(&list).to_owned())
}

fn logs(world: &World) -> String {
    world.replicas.iter().map(|replica| std::fs::read_to_string(&replica.log).unwrap()).collect()
}

const LOST: &str = "the documents were lost; folding them again from the log";

#[tokio::test]
async fn database_dropped_under_idle_servers_shows_nothing_unmarked_and_is_folded_again() {
    let (world, ada) = world(Topology::ONE).await;
    let (expected, after) = idle_state(&ada).await;
    database(&world).await.drop().await.unwrap();
    read_until_complete(&ada, &expected, &after).await;
    assert!(logs(&world).contains(LOST), "{}", logs(&world));
    world.verify().await;
}

#[tokio::test]
async fn database_replaced_by_an_empty_one_shows_nothing_unmarked_and_is_folded_again() {
    let (mut world, ada) = world(Topology::ONE.with_own_database()).await;
    let (expected, after) = idle_state(&ada).await;
    world.mongods.as_mut().unwrap().replace().await;
    read_until_complete(&ada, &expected, &after).await;
    world.verify().await;
}

#[tokio::test]
async fn database_restored_from_an_older_copy_shows_nothing_unmarked_and_is_folded_again() {
    let (world, ada) = world(Topology::ONE).await;
    wait_for_models(&ada).await;
    let mut copy = Copy::of(&world).await;
    assert_eq!(ada[0].create().await.status, 201);
    let (expected, after) = idle_state(&ada).await;
    copy.restore().await;
    read_until_complete(&ada, &expected, &after).await;
    assert!(logs(&world).contains(LOST), "{}", logs(&world));
    world.verify().await;
}

/// A projector that goes on with older documents would store them without the events in between.
#[tokio::test]
async fn database_lost_under_traffic_shows_what_was_acknowledged_and_matches_the_log_again() {
    let (world, ada) = world(Topology::ONE).await;
    let instance = ada[0].get(INSTANCE).await.data()[0]["instanceId"].clone();
    wait_for_models(&ada).await;
    let mut copy = Copy::of(&world).await;
    let mut created = Vec::new();
    for n in 0..60 {
        match n {
            20 => copy.restore().await,
            40 => database(&world).await.drop().await.unwrap(),
            _ => {}
        }
        let (writer, reader) = (&ada[n % 2], &ada[(n + 1) % 2]);
        let change = if n % 2 == 0 { "stop" } else { "resume" };
        let body = json!({ "instanceId": instance });
        let path = format!("{INSTANCE}/{change}");
        let changed = writer.json(Method::PUT, &path, &[("prefer", "respond-async")], body).await;
        assert!(matches!(changed.status, 200 | 202), "{changed:?}");
        if n % 4 == 0 {
            created.push(create_async(writer).await);
        }
        let list = list_after(reader, position(&changed)).await;
        assert!(list.status == 200 || is_refusal(&list, "not_caught_up"), "{list:?}");
        if list.status == 200 {
            assert!(
                created.iter().take(created.len() - usize::from(n % 4 == 0)).all(|one| super::contains(&list, one))
            );
            let expected: &[&str] = if n % 2 == 0 { &["stopping", "stopped"] } else { &["resuming", "running"] };
            let shown = list.data().as_array().unwrap().iter().find(|one| one["instanceId"] == instance).unwrap();
            assert!(expected.iter().any(|status| shown["status"] == *status), "{n}: {shown}");
        }
        let plain = reader.get(INSTANCE).await;
        let is_marked = plain.status != 200 || plain.header("dockhost-stale").is_some();
        assert!(is_marked || !plain.data().as_array().unwrap().is_empty(), "an empty list: {plain:?}");
    }
    assert!(logs(&world).contains(LOST), "{}", logs(&world));
    wait_for_models(&ada).await;
    world.verify().await;
}

async fn database(world: &World) -> Database {
    mongodb::Client::with_uri_str(&world.mongo.uri).await.unwrap().database(&world.mongo.database)
}

/// A copy of the whole database.
struct Copy {
    database: Database,
    documents: BTreeMap<String, Vec<Document>>,
}

impl Copy {
    async fn of(world: &World) -> Self {
        let database = database(world).await;
        let mut documents = BTreeMap::new();
        for name in database
            .list_collection_names()
            .filter(doc! { "type": "collection", "name": { "$ne": "system.views" } })
            .await
            .unwrap()
        {
            let mut found = database.collection::<Document>(&name).find(doc! {}).await.unwrap();
            let mut all = Vec::new();
            while found.advance().await.unwrap() {
                all.push(found.deserialize_current().unwrap());
            }
            documents.insert(name, all);
        }
        Self { database, documents }
    }

    /// Replaces the database by the copy, at once as a restored file system does.
    async fn restore(&mut self) {
        let mut session = self.database.client().start_session().await.unwrap();
        // A projector may write at the same time.
        wait_until("the copy is restored", DEADLINE, async || {
            let written = self.write(&mut session).await;
            if written.is_err() {
                let _ = session.abort_transaction().await;
            }
            written.map_err(|error| error.to_string())
        })
        .await;
    }

    async fn write(&self, session: &mut ClientSession) -> mongodb::error::Result<()> {
        let start = session.start_transaction().read_concern(ReadConcern::snapshot());
        start.write_concern(WriteConcern::majority()).await?;
        for (name, documents) in &self.documents {
            let collection = self.database.collection::<Document>(name);
            collection.delete_many(doc! {}).session(&mut *session).await?;
            if !documents.is_empty() {
                collection.insert_many(documents).session(&mut *session).await?;
            }
        }
        session.commit_transaction().await
    }
}

//! What people find who read the database by hand.

use bson::{Bson, Document, doc};
use dockhost_projections::backends::Backends;
use dockhost_projections::cleanup::Cleanup;
use dockhost_projections::instances::Instances;
use dockhost_projections::rebuild::{drop_replaced, rebuild};
use dockhost_projections::sessions::Sessions;
use dockhost_projections::users::Users;
use dockhost_projections::views::ensure_views;
use futures::TryStreamExt as _;
use mongodb::Database;

use super::events::{
    Log, at, backend, connected, deleted, enrolled, instance, requested, runs, signed_in, signed_up, user,
};
use super::{connect, log, project};
use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, wait_until};

async fn database(mongo: &Mongo) -> Database {
    mongodb::Client::with_uri_str(&mongo.uri).await.unwrap().database(&mongo.database)
}

/// `db.<view>.find({_id: id})`.
async fn row(database: &Database, view: &str, id: impl ToString) -> Document {
    let rows = database.collection::<Document>(view).find(doc! { "_id": id.to_string() }).await.unwrap();
    let mut rows: Vec<Document> = rows.try_collect().await.unwrap();
    assert_eq!(rows.len(), 1, "{view}");
    rows.remove(0)
}

async fn count(database: &Database, view: &str) -> usize {
    let rows = database.collection::<Document>(view).find(doc! {}).await.unwrap();
    rows.try_collect::<Vec<_>>().await.unwrap().len()
}

fn text<'a>(row: &'a Document, member: &str) -> Option<&'a str> {
    row.get(member).and_then(Bson::as_str)
}

/// The date of an event.
fn date(sequence: u64) -> Bson {
    let text = serde_json::to_value(at(sequence)).unwrap();
    Bson::DateTime(bson::DateTime::parse_rfc3339_str(text.as_str().unwrap()).unwrap())
}

#[tokio::test]
async fn views_show_the_documented_members_with_dates() {
    let mongo = Mongo::shared().await;
    let (store, database) = (connect(&mongo).await, database(&mongo).await);
    let events = [
        signed_up(1, 1, "ada@example.org"),
        // The one that `requested` chooses.
        enrolled(2, 100),
        connected(3, 100, "10.0.0.5"),
        requested(4, 1, 1, "web", "k1"),
        runs(5, 1, 1),
        requested(6, 1, 2, "db", "k2"),
        deleted(7, 1, 2),
        signed_in(8, 1, 1, 90),
        signed_in(9, 1, 2, 90),
    ];
    project::<Users>(&store, &events[..1]).await;
    project::<Backends>(&store, &events[1..3]).await;
    project::<Instances>(&store, &events[3..7]).await;
    project::<Sessions>(&store, &events[7..]).await;
    assert_eq!(ensure_views(&store).await.unwrap(), ["users", "backends", "instances", "sessions"]);
    assert_eq!(ensure_views(&store).await.unwrap(), [""; 0], "nothing is left to do");

    let ada = row(&database, "users", user(1)).await;
    assert_eq!(ada.get("createdAt"), Some(&date(1)));
    assert_eq!(ada.get("lastLogin"), Some(&date(9)));
    assert_eq!([text(&ada, "username"), text(&ada, "email")], ["ada", "ada@example.org"].map(Some));
    assert_eq!((ada.get("last"), ada.get("passwordHash")), (None, None));

    let machine = row(&database, "backends", backend(100)).await;
    assert_eq!(machine.get("createdAt"), Some(&date(2)));
    assert_eq!(machine.get("connectedAt"), Some(&date(3)));
    assert_eq!(machine.get("name"), machine.get("username"));
    assert_eq!(machine.get("containerCount"), Some(&Bson::Int32(1)));
    assert_eq!((machine.get("counted"), machine.get("drain")), (None, None));

    let web = row(&database, "instances", instance(1)).await;
    assert_eq!((web.get("createdAt"), web.get("lastActivity")), (Some(&date(4)), Some(&date(5))));
    let number = |member: &str| web.get(member).and_then(|port| port.as_i64().or(port.as_i32().map(i64::from)));
    assert_eq!([number("sshPort"), number("httpPort"), number("httpsPort")].map(|port| port.is_some()), [true; 3]);
    assert_eq!((web.get("ports"), web.get("state")), (None, None));
    let db = row(&database, "instances", instance(2)).await;
    assert_eq!((db.get("sshPort"), text(&db, "status")), (None, Some("deleted")));

    let newest = doc! { "startedAt": { "$gt": date(8) } };
    let newest = database.collection::<Document>("sessions").count_documents(newest).await.unwrap();
    assert_eq!(newest, 1, "dates compare as dates");
}

/// The query in `docs/OPERATIONS.md`: documents of sessions don't say whose they are, but the views name principals alike.
#[tokio::test]
async fn view_of_sessions_without_the_ids_of_backends_shows_those_of_users() {
    let mongo = Mongo::shared().await;
    let (store, database) = (connect(&mongo).await, database(&mongo).await);
    project::<Backends>(&store, &[enrolled(1, 100)]).await;
    // A principal is its id, so the second session is that of the backend.
    project::<Sessions>(&store, &[signed_in(2, 1, 1, 90), signed_in(3, 100, 2, 90)]).await;
    assert_eq!(ensure_views(&store).await.unwrap(), ["backends", "sessions"]);

    let backends = database.collection::<Document>("backends").distinct("_id", doc! {}).await.unwrap();
    assert_eq!(backends, [Bson::String(backend(100).to_string())]);
    let of_users = doc! { "principalId": { "$nin": backends } };
    let sessions = database.collection::<Document>("sessions").find(of_users).await.unwrap();
    let sessions: Vec<Document> = sessions.try_collect().await.unwrap();
    let principals: Vec<_> = sessions.iter().map(|session| text(session, "principalId")).collect();
    assert_eq!(principals, [Some(user(1).to_string().as_str())]);
}

#[tokio::test]
async fn view_shows_the_live_collection_after_a_rebuild() {
    let mongo = Mongo::shared().await;
    let (store, database) = (connect(&mongo).await, database(&mongo).await);
    let events = [signed_up(1, 1, "ada@example.org"), signed_up(2, 2, "bob@example.org")];
    project::<Users>(&store, &events[..1]).await;
    ensure_views(&store).await.unwrap();
    let rebuilt = rebuild::<Users>(&store, &Log::of(log("one"), &events), &|_| {}).await.unwrap();
    assert_eq!(count(&database, "users").await, 1, "the view shows the replaced collection until it is changed");
    drop_replaced(&store, &[rebuilt]).await.unwrap();
    assert_eq!(count(&database, "users").await, 2);
    assert_eq!(store.collection_names().await.unwrap().iter().filter(|name| name.starts_with("users")).count(), 1);
}

/// Releases before the views stored the documents in `users` itself.
#[tokio::test]
async fn collection_of_an_earlier_release_becomes_a_view_once_it_is_replaced() {
    let mongo = Mongo::shared().await;
    let (store, database) = (connect(&mongo).await, database(&mongo).await);
    let events = [signed_up(1, 1, "ada@example.org"), signed_up(2, 2, "bob@example.org")];
    project::<Users>(&store, &events[..1]).await;
    let rename = doc! {
        "renameCollection": format!("{}.users_v1", mongo.database), "to": format!("{}.users", mongo.database),
    };
    database.client().database("admin").run_command(rename).await.unwrap();
    let earlier = doc! { "$set": { "collection": "users" } };
    database.collection::<Document>("checkpoints").update_one(doc! { "_id": "users" }, earlier).await.unwrap();

    assert_eq!(ensure_views(&store).await.unwrap(), [""; 0]);
    project::<Users>(&store, &events).await;
    assert_eq!(count(&database, "users").await, 2, "it goes on in the collection of the earlier release");

    let rebuilt = rebuild::<Users>(&store, &Log::of(log("one"), &events), &|_| {}).await.unwrap();
    assert_eq!((rebuilt.old.as_str(), rebuilt.collection.as_str()), ("users", "users_v1"));
    let mut cleanup = Cleanup::new(store.clone());
    wait_until("the earlier collection is dropped", DEADLINE, async || {
        let dropped = cleanup.run_once().await.unwrap();
        if dropped.is_empty() { Err(store.collection_names().await.unwrap().join(" ")) } else { Ok(()) }
    })
    .await;
    assert_eq!(ensure_views(&store).await.unwrap(), ["users"]);
    assert!(row(&database, "users", user(2)).await.get_datetime("createdAt").is_ok());
}

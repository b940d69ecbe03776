//! A program with a newer fold version builds the model beside the live documents.

use std::time::Duration;

use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::AggregateId;
use dockhost_projections::cleanup::Cleanup;
use dockhost_projections::rebuild::rebuild;
use dockhost_projections::release::{release, take_released};
use dockhost_projections::self_build::build;
use dockhost_projections::store::View;
use dockhost_projections::users::{UserDocument, Users};
use dockhost_projections::verify::verify;
use dockhost_projections::{Document, History, LogEntry, MongoStore, ProjectionError, ReadModel, StoredModel};
use serde::{Deserialize, Serialize};

use super::events::{Log, StalledLog, signed_up, user};
use super::{connect, log, open, position, project, store};
use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, wait_until};

/// The document of the next version: one more member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NextUserDocument {
    #[serde(flatten)]
    user: UserDocument,
    #[serde(default)]
    logins: u32,
}

impl Document for NextUserDocument {
    type Id = UserId;

    fn id(&self) -> UserId {
        self.user.id()
    }

    fn seq(&self) -> u64 {
        self.user.seq()
    }

    fn set_seq(&mut self, seq: u64) {
        self.user.set_seq(seq);
    }
}

/// `users` in the next version.
struct NextUsers;

impl StoredModel for NextUsers {
    const NAME: &'static str = Users::NAME;
    const FOLD_VERSION: u32 = Users::FOLD_VERSION + 1;
    const INDEXES: &'static [&'static [&'static str]] = &[&["logins"]];
    type Document = NextUserDocument;

    fn view() -> View {
        Users::view()
    }
}

impl ReadModel for NextUsers {
    const KIND: &'static str = Users::KIND;

    fn keys(event: &Envelope) -> Vec<UserId> {
        Users::keys(event)
    }

    fn fold(id: UserId, document: Option<NextUserDocument>, recorded: &RecordedEvent) -> Option<NextUserDocument> {
        let logins = document.as_ref().map_or(0, |document| document.logins);
        let user = Users::fold(id, document.map(|document| document.user), recorded)?;
        Some(NextUserDocument { user, logins })
    }
}

fn events() -> Vec<LogEntry> {
    (1..=4).map(|n| signed_up(n, n, &format!("{n}@example.org"))).collect()
}

async fn build_next(store: &MongoStore, history: &dyn History) -> Option<String> {
    let seen = store.checkpoint::<Users>().await.unwrap().unwrap();
    let built = build::<NextUsers>(store, history, &seen, &|_| {}).await.unwrap();
    built.map(|rebuilt| rebuilt.collection.as_str().to_owned())
}

#[tokio::test]
async fn build_of_a_newer_version_stops_the_older_program_which_still_reads() {
    let mongo = Mongo::shared().await;
    let (store, older) = (connect(&mongo).await, connect(&mongo).await);
    let history = Log::of(log("one"), &events());
    let mut projector = project::<Users>(&older, &events()[..3]).await;
    assert_eq!(build_next(&store, &history).await.as_deref(), Some("users_v2"));
    assert!(verify::<NextUsers>(&store, &history, &|_| {}).await.unwrap().is_equal());

    // The older program reads, and writes nothing.
    wait_until("the older program reads the newer documents", DEADLINE, async || {
        if older.user(user(4)).await.unwrap().is_some() { Ok(()) } else { Err("it reads the old ones") }
    })
    .await;
    history.append(signed_up(5, 5, "5@example.org"));
    let is_newer = |error: &ProjectionError| {
        let versions = (NextUsers::FOLD_VERSION, Users::FOLD_VERSION);
        matches!(error, ProjectionError::FoldChanged { stored, ours, .. } if (*stored, *ours) == versions)
    };
    assert!(is_newer(&projector.apply(&history.entries()).await.unwrap_err()));
    assert!(is_newer(&dockhost_projections::Projector::<Users>::open(older.clone(), &log("one")).await.unwrap_err()));
    assert!(is_newer(&verify::<Users>(&older, &history, &|_| {}).await.unwrap_err()));
    let subject = AggregateId::Account(user(1)).to_string();
    assert!(is_newer(&release::<Users>(&older, &history, &subject).await.unwrap_err()));
    assert_eq!((position::<Users>(&store).await, store.user(user(5)).await.unwrap()), (4, None));

    // The newer one continues.
    open::<NextUsers>(&store).await.apply(&history.entries()).await.unwrap();
    assert!(verify::<NextUsers>(&store, &history, &|_| {}).await.unwrap().is_equal());
    assert!(older.user(user(5)).await.unwrap().is_some());
}

#[tokio::test]
async fn build_is_not_taken_over_while_it_reports_and_stops_when_it_is() {
    let store = store().await;
    let history = Log::of(log("one"), &events());
    project::<Users>(&store, &events()).await;
    let stalled = tokio::spawn({
        let (store, history) = (store.clone(), StalledLog(history.clone()));
        async move {
            let seen = store.checkpoint::<Users>().await.unwrap().unwrap();
            build::<NextUsers>(&store, &history, &seen, &|_| {}).await
        }
    });
    let reports = async |at_least: u64| {
        wait_until("the build reports", DEADLINE, async || {
            let seen = store.checkpoint::<Users>().await.unwrap().unwrap();
            let reports = seen.active_build().map(|build| build.reports);
            if reports >= Some(at_least) { Ok(seen) } else { Err(format!("{reports:?}")) }
        })
        .await
    };
    let seen = reports(1).await;
    let status = seen.active_build().unwrap();
    assert_eq!(
        (status.collection.as_str(), status.fold_version, status.total),
        ("users_v2", NextUsers::FOLD_VERSION, 4)
    );
    reports(2).await;
    assert_eq!(build::<NextUsers>(&store, &history, &seen, &|_| {}).await.unwrap(), None, "it has reported since");
    assert_eq!(build_next(&store, &history).await.as_deref(), Some("users_v3"));
    let overtaken = tokio::time::timeout(DEADLINE, stalled).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(overtaken, ProjectionError::Overtaken { model: "users" }), "{overtaken:?}");
    assert!(verify::<NextUsers>(&store, &history, &|_| {}).await.unwrap().is_equal());
}

#[tokio::test]
async fn build_hands_released_aggregates_to_the_leader_once() {
    let store = store().await;
    let history = Log::of(log("one"), &events());
    open::<Users>(&store).await.apply(&history.unreadable_at(&[2, 3]).entries()).await.unwrap();
    let subject = |n| AggregateId::Account(user(n)).to_string();
    // The newer program still can't read one of them.
    build_next(&store, &history.unreadable_at(&[3])).await;
    assert_eq!(take_released::<NextUsers>(&store).await.unwrap(), [subject(2)]);
    assert_eq!(take_released::<NextUsers>(&store).await.unwrap(), [""; 0]);
    release::<NextUsers>(&store, &history, &subject(3)).await.unwrap();
    assert_eq!(take_released::<NextUsers>(&store).await.unwrap(), [subject(3)]);
}

#[tokio::test]
async fn cleanup_drops_what_is_neither_live_nor_reserved_after_the_grace_period() {
    let mongo = Mongo::shared().await;
    let store = connect(&mongo).await;
    let history = Log::of(log("one"), &events());
    project::<Users>(&store, &events()).await;
    let database = mongodb::Client::with_uri_str(&mongo.uri).await.unwrap().database(&mongo.database);
    for foreign in ["users_v02", "users_old", "customers", "users_v9"] {
        database.create_collection(foreign).await.unwrap();
    }
    rebuild::<Users>(&store, &history, &|_| {}).await.unwrap();
    let reserved = tokio::spawn({
        let (store, history) = (store.clone(), StalledLog(history.clone()));
        async move { rebuild::<NextUsers>(&store, &history, &|_| {}).await }
    });
    wait_until("the next collection is reserved", DEADLINE, async || {
        let building = store.checkpoint::<Users>().await.unwrap().unwrap().building;
        if building.is_some() { Ok(()) } else { Err("it is not") }
    })
    .await;
    let names = async || {
        let mut names = store.collection_names().await.unwrap();
        names.sort();
        names
    };
    let mut cleanup = Cleanup::new(store.clone());
    let started = std::time::Instant::now();
    assert_eq!(cleanup.run_once().await.unwrap(), []);
    let mut dropped = Vec::new();
    while dropped.len() < 2 {
        dropped.extend(cleanup.run_once().await.unwrap().iter().map(|name| name.as_str().to_owned()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(started.elapsed() >= Duration::from_secs(7), "dropped after {:?}", started.elapsed());
    dropped.sort();
    // Of the numbers only 10 and 11 are used, because 9 was present.
    assert_eq!(dropped, ["users_v1", "users_v9"]);
    assert_eq!(names().await, ["checkpoints", "customers", "users_old", "users_v02", "users_v10"]);
    reserved.abort();
    // The number of the reserved collection is not used again, although it was never created.
    assert_eq!(rebuild::<Users>(&store, &history, &|_| {}).await.unwrap().collection.as_str(), "users_v12");
}

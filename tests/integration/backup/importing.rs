//! Out of a directory: the same log, or a refusal before anything is stored.

use std::path::Path;

use async_nats::jetstream::{self, Context};
use dockhost::backup::import::{ImportOptions, KeySource, Phase, check_master_key, import};
use dockhost::backup::{check, keys};
use dockhost::broker::streams::{EVENTS, LEADER_BUCKET};
use dockhost::event_log::EventLog;
use dockhost::event_log::jetstream::{JetStreamLog, OpenError};
use dockhost::leader::election::Election;
use dockhost::leader::fitness::Fitness;
use dockhost_domain::account::AccountEvent;
use dockhost_domain::event::Event;
use dockhost_projections::MongoStore;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{export_to, js, log_of, stored};
use crate::event_log::world::{Live, at, master, options, sign_in, user};
use crate::harness::{Mongo, Nats};

/// A log, and its export.
async fn exported(events: u64) -> (Live, TempDir) {
    let live = log_of(events).await;
    let directory = tempfile::tempdir().unwrap();
    export_to(&live, directory.path(), 400).await;
    (live, directory)
}

fn order(directory: &Path) -> ImportOptions {
    let manifest = check::finished(directory).unwrap();
    let keys = KeySource::Export(keys::read(directory, manifest.keys.as_ref().unwrap()).unwrap());
    ImportOptions { directory: directory.to_owned(), manifest, keys, streams: options().streams }
}

async fn bring_back(js: &Context, directory: &Path) -> Result<u64, String> {
    import(js, order(directory), &mut |_, _, _| {}).await.map_err(|error| format!("{error:#}"))
}

async fn empty() -> (Nats, Context) {
    let nats = Nats::start().await;
    let js = jetstream::new(nats.main().await.client().clone());
    (nats, js)
}

async fn same(live: &Live, js: &Context) {
    let (before, after) = (stored(&self::js(live)).await, stored(js).await);
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert!(before.same_event(after), "{before:?} became {after:?}");
    }
}

#[tokio::test]
async fn a_log_comes_back_with_its_sequences_and_its_keys() {
    let (live, directory) = exported(60).await;
    let (_nats, js) = empty().await;
    assert_eq!(bring_back(&js, directory.path()).await, Ok(60));
    same(&live, &js).await;
    // A server starts on it, with the same master key only, and reads what is sealed.
    let wrong = JetStreamLog::open(js.client(), master(2), options()).await;
    assert!(matches!(wrong, Err(OpenError::Keys(_))), "{wrong:?}");
    let log = JetStreamLog::open(js.client(), master(1), options()).await.unwrap();
    assert_ne!(log.incarnation(), live.log.incarnation());
    let account = stored(&js).await.into_iter().find(|raw| raw.subject.contains(".account.")).unwrap();
    let events = log.load(account.subject.parse().unwrap(), 0).await.unwrap();
    let Event::Account(AccountEvent::Created(created)) = &events[0].envelope.event else { panic!("{events:?}") };
    assert_eq!(created.email.plain().map(String::as_str), Some(crate::event_log::world::SECRET));
    // Once more changes nothing; a log that went on is no beginning of the export.
    assert_eq!(bring_back(&js, directory.path()).await, Ok(0));
    log.append(at(0, &sign_in(user()))).await.unwrap();
    let refused = bring_back(&js, directory.path()).await.unwrap_err();
    assert!(refused.contains("the system is not empty"), "{refused}");
}

#[tokio::test]
async fn an_interrupted_import_lets_no_server_start_and_goes_on() {
    let (live, directory) = exported(3000).await;
    let (_nats, js) = empty().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut watch = |part, done, total| {
        if part == Phase::Events && done > 0 && done < total {
            let _ = tell.send(done);
        }
    };
    tokio::select! {
        biased;
        _ = told.recv() => {}
        done = import(&js, order(directory.path()), &mut watch) => panic!("not interrupted: {done:?}"),
    }
    let half = JetStreamLog::open(js.client(), master(1), options()).await;
    assert!(matches!(half, Err(OpenError::ImportUnfinished)), "{half:?}");
    let rest = bring_back(&js, directory.path()).await.unwrap();
    assert!(0 < rest && rest < 3000, "{rest}");
    same(&live, &js).await;
    JetStreamLog::open(js.client(), master(1), options()).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_dies_meanwhile_costs_nothing() {
    let (live, directory) = exported(3000).await;
    let (mut nats, js) = empty().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (order, context) = (order(directory.path()), js.clone());
    let task = tokio::spawn(async move {
        let mut watch = |part, done, total| {
            if part == Phase::Events && done > 0 && done < total {
                let _ = tell.send(done);
            }
        };
        import(&context, order, &mut watch).await
    });
    told.recv().await.unwrap();
    nats.kill().await;
    nats.restart().await;
    assert_eq!(task.await.unwrap().unwrap(), 3000);
    same(&live, &js).await;
}

#[tokio::test]
async fn whoever_else_appends_stops_it() {
    let (_live, directory) = exported(3000).await;
    let (_nats, js) = empty().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (order, context) = (order(directory.path()), js.clone());
    let task = tokio::spawn(async move {
        let mut watch = |part, done, total| {
            if part == Phase::Events && done > 0 && done < total {
                let _ = tell.send(done);
            }
        };
        import(&context, order, &mut watch).await
    });
    told.recv().await.unwrap();
    let foreign = js.publish("dockhost.event.session.eve", "eve".into()).await.unwrap().await.unwrap().sequence;
    let refused = format!("{:#}", task.await.unwrap().unwrap_err());
    assert_eq!(
        refused,
        format!("another client has appended to the log at sequence {foreign}; stop every server during an import")
    );
    let refused = bring_back(&js, directory.path()).await.unwrap_err();
    assert!(refused.contains(&format!("event {foreign} of the broker's log is not the export's")), "{refused}");
}

#[tokio::test]
async fn a_system_that_is_not_empty_is_left_alone() {
    let (live, directory) = exported(20).await;
    let keys = keys::read(directory.path(), check::finished(directory.path()).unwrap().keys.as_ref().unwrap()).unwrap();
    check_master_key(&keys, &master(1)).unwrap();
    let wrong = format!("{:#}", check_master_key(&keys, &master(2)).unwrap_err());
    assert!(wrong.contains("DOCKHOST_MASTER_KEY is not the key"), "{wrong}");

    // A server was started here: there are keys already, which are others.
    let other = Live::start().await;
    let refused = bring_back(&js(&other), directory.path()).await.unwrap_err();
    assert!(refused.contains("holds another key"), "{refused}");
    assert_eq!(stored(&js(&other)).await, []);
    // It wrote an event.
    other.log.append(at(0, &sign_in(user()))).await.unwrap();
    let before = stored(&js(&other)).await;
    let refused = bring_back(&js(&other), directory.path()).await.unwrap_err();
    assert!(refused.contains("event 1 of the broker's log is not the export's"), "{refused}");
    assert_eq!(stored(&js(&other)).await, before);
    let stream = js(&other).get_stream(EVENTS).await.unwrap();
    assert!(!stream.cached_info().config.metadata.contains_key("dockhost-import"));
    drop(live);

    // The keys alone were kept: then they must be the ones that fit.
    let (_nats, empty) = empty().await;
    let bare = ImportOptions { keys: KeySource::Bucket(master(1)), ..order(directory.path()) };
    let refused = import(&empty, bare, &mut |_, _, _| {}).await.unwrap_err();
    assert!(format!("{refused:#}").contains("the bucket KEYS is empty"), "{refused:#}");
    assert_eq!(stored(&empty).await, []);
}

#[tokio::test]
async fn a_server_that_runs_is_not_run_over() {
    let (_live, directory) = exported(20).await;
    let (_nats, js) = empty().await;
    dockhost::broker::streams::ensure(&js, &options().streams).await.unwrap();
    let lease = js.get_key_value(LEADER_BUCKET).await.unwrap();
    let stop = CancellationToken::new();
    let mongo = Mongo::shared().await;
    let store = MongoStore::connect(&mongo.uri, &mongo.database).await.unwrap();
    let leader = Election::new(lease, "the-server".to_owned());
    let leader =
        leader.run(Fitness::new(store, js.client()), stop.clone(), |over| async move { over.cancelled().await });
    let leader = tokio::spawn(leader);
    let refused = loop {
        // The leader may need a moment to be elected; an import that comes first would hold the lease itself.
        let bucket = js.get_key_value(LEADER_BUCKET).await.unwrap();
        if bucket.get("leader").await.unwrap().is_some() {
            break bring_back(&js, directory.path()).await.unwrap_err();
        }
    };
    assert_eq!(refused, "a server is running: the-server holds the leader's lease; stop every server first");
    assert_eq!(stored(&js).await, []);
    stop.cancel();
    leader.await.unwrap();
    assert_eq!(bring_back(&js, directory.path()).await, Ok(20));
}

//! Imports: the same log, or a refusal before anything is stored.

use std::path::Path;

use async_nats::jetstream::{self, Context};
use dockhost::backup::import::{ImportOptions, KeySource, Phase, check_master_key, import};
use dockhost::backup::{check, keys};
use dockhost::broker::streams::{EVENTS, LEADER_BUCKET};
use dockhost::event_log::EventLog;
use dockhost::event_log::jetstream::{JetStreamLog, OpenError};
use dockhost::leader::election::{Election, TermEnd};
use dockhost::leader::fitness::Fitness;
use dockhost_domain::account::AccountEvent;
use dockhost_domain::event::Event;
use dockhost_projections::MongoStore;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{export_to, js, log_of, stored};
use crate::event_log::world::{Live, at, master, options, sign_in, user};
use crate::harness::{Mongo, Nats};

/// A log and its export.
async fn exported(events: u64) -> (Live, TempDir) {
    let live = log_of(events).await;
    let directory = tempfile::tempdir().unwrap();
    export_to(&live, directory.path(), 400).await;
    (live, directory)
}

fn import_options(directory: &Path) -> ImportOptions {
    let manifest = check::finished(directory).unwrap();
    let keys = KeySource::Export(keys::read(directory, manifest.keys.as_ref().unwrap()).unwrap());
    ImportOptions { directory: directory.to_owned(), manifest, keys, streams: options().streams }
}

async fn run_import(js: &Context, directory: &Path) -> Result<u64, String> {
    import(js, import_options(directory), &mut |_, _, _| {}).await.map_err(|error| format!("{error:#}"))
}

async fn empty() -> (Nats, Context) {
    let nats = Nats::start().await;
    let js = jetstream::new(nats.main().await.client().clone());
    (nats, js)
}

async fn assert_same_events(live: &Live, js: &Context) {
    let (before, after) = (stored(&self::js(live)).await, stored(js).await);
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert!(before.same_event(after), "{before:?} became {after:?}");
    }
}

#[tokio::test]
async fn import_restores_events_at_their_sequences_and_keys() {
    let (live, directory) = exported(60).await;
    let (_nats, js) = empty().await;
    assert_eq!(run_import(&js, directory.path()).await, Ok(60));
    assert_same_events(&live, &js).await;
    // A server starts on it with the same master key only, and reads sealed values.
    let wrong = JetStreamLog::open(js.client(), master(2), options()).await;
    assert!(matches!(wrong, Err(OpenError::Keys(_))), "{wrong:?}");
    let log = JetStreamLog::open(js.client(), master(1), options()).await.unwrap();
    assert_ne!(log.incarnation(), live.log.incarnation());
    let account = stored(&js).await.into_iter().find(|raw| raw.subject.contains(".account.")).unwrap();
    let events = log.load(account.subject.parse().unwrap(), 0).await.unwrap();
    let Event::Account(AccountEvent::Created(created)) = &events[0].envelope.event else { panic!("{events:?}") };
    assert_eq!(created.email.plain().map(String::as_str), Some(crate::event_log::world::SECRET));
    // Another run changes nothing. A log with further events is not a prefix of the export.
    assert_eq!(run_import(&js, directory.path()).await, Ok(0));
    log.append(at(0, &sign_in(user()))).await.unwrap();
    let refused = run_import(&js, directory.path()).await.unwrap_err();
    assert!(refused.contains("the system is not empty"), "{refused}");
}

#[tokio::test]
async fn import_interrupted_prevents_start_and_resumes() {
    let (live, directory) = exported(3000).await;
    let (_nats, js) = empty().await;
    let (sender, mut progress) = tokio::sync::mpsc::unbounded_channel();
    let mut on_progress = |phase, done, total| {
        if phase == Phase::Events && done > 0 && done < total {
            let _ = sender.send(done);
        }
    };
    tokio::select! {
        biased;
        _ = progress.recv() => {}
        done = import(&js, import_options(directory.path()), &mut on_progress) => panic!("not interrupted: {done:?}"),
    }
    let half = JetStreamLog::open(js.client(), master(1), options()).await;
    assert!(matches!(half, Err(OpenError::ImportUnfinished)), "{half:?}");
    let rest = run_import(&js, directory.path()).await.unwrap();
    assert!(0 < rest && rest < 3000, "{rest}");
    assert_same_events(&live, &js).await;
    JetStreamLog::open(js.client(), master(1), options()).await.unwrap();
}

#[tokio::test]
async fn import_broker_restart_continues() {
    let (live, directory) = exported(3000).await;
    let (mut nats, js) = empty().await;
    let (sender, mut progress) = tokio::sync::mpsc::unbounded_channel();
    let (options, context) = (import_options(directory.path()), js.clone());
    let task = tokio::spawn(async move {
        let mut on_progress = |phase, done, total| {
            if phase == Phase::Events && done > 0 && done < total {
                let _ = sender.send(done);
            }
        };
        import(&context, options, &mut on_progress).await
    });
    progress.recv().await.unwrap();
    nats.kill().await;
    nats.restart().await;
    assert_eq!(task.await.unwrap().unwrap(), 3000);
    assert_same_events(&live, &js).await;
}

#[tokio::test]
async fn import_foreign_append_stops_it() {
    let (_live, directory) = exported(3000).await;
    let (_nats, js) = empty().await;
    let (sender, mut progress) = tokio::sync::mpsc::unbounded_channel();
    let (options, context) = (import_options(directory.path()), js.clone());
    let task = tokio::spawn(async move {
        let mut on_progress = |phase, done, total| {
            if phase == Phase::Events && done > 0 && done < total {
                let _ = sender.send(done);
            }
        };
        import(&context, options, &mut on_progress).await
    });
    progress.recv().await.unwrap();
    let foreign = js.publish("dockhost.event.session.eve", "eve".into()).await.unwrap().await.unwrap().sequence;
    let refused = format!("{:#}", task.await.unwrap().unwrap_err());
    assert_eq!(
        refused,
        format!("another client has appended to the log at sequence {foreign}; stop every server during an import")
    );
    let refused = run_import(&js, directory.path()).await.unwrap_err();
    assert!(refused.contains(&format!("event {foreign} of the broker's log is not the export's")), "{refused}");
}

#[tokio::test]
async fn import_into_a_used_system_is_refused() {
    let (live, directory) = exported(20).await;
    let keys = keys::read(directory.path(), check::finished(directory.path()).unwrap().keys.as_ref().unwrap()).unwrap();
    check_master_key(&keys, &master(1)).unwrap();
    let wrong = format!("{:#}", check_master_key(&keys, &master(2)).unwrap_err());
    assert!(wrong.contains("DOCKHOST_MASTER_KEY is not the key"), "{wrong}");

    // A server was started here, so there are other keys.
    let other = Live::start().await;
    let refused = run_import(&js(&other), directory.path()).await.unwrap_err();
    assert!(refused.contains("holds another key"), "{refused}");
    assert_eq!(stored(&js(&other)).await, []);
    // The server has appended an event.
    other.log.append(at(0, &sign_in(user()))).await.unwrap();
    let before = stored(&js(&other)).await;
    let refused = run_import(&js(&other), directory.path()).await.unwrap_err();
    assert!(refused.contains("event 1 of the broker's log is not the export's"), "{refused}");
    assert_eq!(stored(&js(&other)).await, before);
    let stream = js(&other).get_stream(EVENTS).await.unwrap();
    assert!(!stream.cached_info().config.metadata.contains_key("dockhost-import"));
    drop(live);

    // Without the keys of the export, the bucket must hold them.
    let (_nats, empty) = empty().await;
    let bare = ImportOptions { keys: KeySource::Bucket(master(1)), ..import_options(directory.path()) };
    let refused = import(&empty, bare, &mut |_, _, _| {}).await.unwrap_err();
    assert!(format!("{refused:#}").contains("the bucket KEYS is empty"), "{refused:#}");
    assert_eq!(stored(&empty).await, []);
}

#[tokio::test]
async fn import_while_a_server_runs_is_refused() {
    let (_live, directory) = exported(20).await;
    let (_nats, js) = empty().await;
    dockhost::broker::streams::ensure(&js, &options().streams).await.unwrap();
    let lease = js.get_key_value(LEADER_BUCKET).await.unwrap();
    let stop = CancellationToken::new();
    let mongo = Mongo::shared().await;
    let store = MongoStore::connect(&mongo.uri, &mongo.database).await.unwrap();
    let leader = Election::new(js.clone(), lease, "the-server".to_owned());
    let fitness = Fitness::new(store, js.client(), "any".to_owned().into());
    let end = TermEnd { resign: stop.clone(), cancel: stop.clone() };
    let leader = leader.run(fitness, end, |over| async move { over.cancelled().await });
    let leader = tokio::spawn(leader);
    let refused = loop {
        // An import before the election would get the lease itself.
        let bucket = js.get_key_value(LEADER_BUCKET).await.unwrap();
        if bucket.get("leader").await.unwrap().is_some() {
            break run_import(&js, directory.path()).await.unwrap_err();
        }
    };
    assert_eq!(refused, "a server is running: the-server holds the leader's lease; stop every server first");
    assert_eq!(stored(&js).await, []);
    stop.cancel();
    leader.await.unwrap();
    assert_eq!(run_import(&js, directory.path()).await, Ok(20));
}

//! The lists of instances and sessions are used with 100,000 documents: no page may read them all.

use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::tenancy::Status;
use dockhost_projections::LogEntry;
use dockhost_projections::instances::{InstanceFilter, InstanceRef, Instances, StatusNow};
use dockhost_projections::sessions::{SessionFilter, Sessions};
use dockhost_projections::store::Page;
use uuid::Uuid;

use super::events::{at, backend, deleted_as, requested_on, runs_as, sessions_ended, signed_in, user};
use super::profiler::{Profiler, Work};
use super::{connect, project};
use crate::harness::Mongo;

/// Many times what a page shows.
const MANY: u64 = 600;
const SHOWN: u32 = 20;
/// The most documents, and the most entries of indexes, that the database may read for a page.
const MOST: i64 = 64;
/// A query reads the checkpoint of its model as well.
const CHECKPOINT: i64 = 1;
/// In seconds.
const DAY: u64 = 24 * 3600;

/// The id of an instance that is made on this day.
fn id(day: u64) -> InstanceId {
    let lowest = InstanceId::lowest_at(at(day * DAY)).uuid().as_u128();
    InstanceId::from_uuid(Uuid::from_u128(lowest + u128::from(day)))
}

/// One instance a day, of ten users in turn. One of three is deleted. Of the others, every second one runs, and a few of those
/// are on another machine.
fn instances() -> Vec<LogEntry> {
    let of = |day: u64| {
        let (sequence, owner) = (day * DAY, day % 10 + 1);
        let placed = (id(day), backend(if day.is_multiple_of(50) { 101 } else { 100 }));
        let mut events = vec![requested_on(sequence, owner, placed, &format!("web-{day:03}"), "key")];
        if day.is_multiple_of(2) {
            events.push(runs_as(sequence + 1, owner, id(day)));
        }
        if day.is_multiple_of(3) {
            events.push(deleted_as(sequence + 2, owner, placed));
        }
        events
    };
    (1..=MANY).flat_map(of).collect()
}

fn with(change: impl FnOnce(&mut InstanceFilter)) -> InstanceFilter {
    let mut filter = InstanceFilter::default();
    change(&mut filter);
    filter
}

fn status(status: Status, reachable: &[u64]) -> Option<StatusNow> {
    let reachable: Vec<BackendId> = reachable.iter().map(|n| backend(*n)).collect();
    Some(StatusNow { status, reachable })
}

/// Filters that select more than a page.
fn long() -> Vec<InstanceFilter> {
    vec![
        InstanceFilter::default(),
        with(|filter| filter.owner = Some(user(7))),
        with(|filter| filter.owners = Some(vec![user(7), user(8)])),
        with(|filter| filter.backend = Some(backend(100))),
        with(|filter| filter.status = status(Status::Creating, &[])),
        with(|filter| filter.status = status(Status::Running, &[100])),
        with(|filter| filter.status = status(Status::Unreachable, &[])),
        with(|filter| filter.created_before = Some(at(300 * DAY))),
        with(|filter| filter.created_before = Some(at(9 * MANY * DAY))),
        with(|filter| filter.name_prefix = Some("web-".to_owned())),
        with(|filter| filter.deadline_before = Some(at(2_000_000))),
        with(|filter| (filter.owner, filter.status) = (Some(user(7)), status(Status::Running, &[100, 101]))),
        with(|filter| (filter.backend, filter.status) = (Some(backend(100)), status(Status::Creating, &[100]))),
    ]
}

/// Filters that select few or none.
fn short() -> Vec<InstanceFilter> {
    vec![
        with(|filter| filter.id = Some(id(7))),
        with(|filter| filter.owner = Some(user(11))),
        with(|filter| filter.backend = Some(backend(101))),
        with(|filter| filter.status = status(Status::Failed, &[100, 101])),
        with(|filter| filter.status = status(Status::Running, &[101])),
        with(|filter| filter.status = status(Status::Unreachable, &[100])),
        with(|filter| filter.status = status(Status::Unreachable, &[100, 101])),
        with(|filter| filter.created_before = Some(at(15 * DAY))),
        with(|filter| filter.created_before = Some(at(0))),
        with(|filter| filter.name_prefix = Some("web-59".to_owned())),
        with(|filter| filter.name_prefix = Some("db".to_owned())),
        with(|filter| filter.deadline_before = Some(at(7))),
        with(|filter| filter.drained_from = Some((backend(100), at(0)))),
        with(|filter| (filter.owner, filter.status) = (Some(user(7)), status(Status::Creating, &[100, 101]))),
        with(|filter| {
            (filter.name_prefix, filter.status) = (Some("web-59".to_owned()), status(Status::Running, &[100]));
        }),
    ]
}

fn assert_few(work: &Work, what: &str) {
    let is_few = work.documents <= MOST && work.keys <= MOST && !work.plan.contains("COLLSCAN");
    assert!(is_few, "{what}: {work:?}");
}

/// What is read in the order of the list ends with the page, however long the list is.
fn assert_few_in_order(work: &Work, what: &str) {
    assert_few(work, what);
    assert!(!work.is_sorted, "{what}: {work:?}");
}

#[tokio::test]
async fn pages_of_all_instances_read_few_of_many_documents() {
    let mongo = Mongo::shared().await;
    let store = connect(&mongo).await;
    project::<Instances>(&store, &instances()).await;
    let mut profiler = Profiler::start::<Instances>(&mongo).await;
    let shown = usize::try_from(SHOWN).unwrap();
    for filter in long() {
        let mut page = Page { after: None, limit: SHOWN };
        for _ in 0..2 {
            let found = store.instances_of_all(&filter, page).await.unwrap().value;
            assert_few_in_order(&profiler.last_query().await, &format!("{filter:?} {page:?}"));
            page.after = found.get(shown - 1).map(|last| last.instance_id);
            assert!(page.after.is_some(), "{filter:?} selects {} instances", found.len());
        }
    }
    for filter in short() {
        let found = store.instances_of_all(&filter, Page { after: None, limit: SHOWN }).await.unwrap().value;
        assert_few(&profiler.last_query().await, &format!("{filter:?}"));
        assert!(found.len() < shown, "{filter:?} selects {} instances", found.len());
    }
}

/// A user who creates and deletes instances every day still gets the list quickly.
#[tokio::test]
async fn lists_of_own_instances_read_no_others_and_no_deleted_ones() {
    let mongo = Mongo::shared().await;
    let store = connect(&mongo).await;
    project::<Instances>(&store, &instances()).await;
    let mut profiler = Profiler::start::<Instances>(&mongo).await;
    let own = store.instances_of(user(7)).await.unwrap().value;
    let work = profiler.last_query().await;
    let others = work.documents - i64::try_from(own.len()).unwrap();
    assert!(own.len() > 30 && (0..=CHECKPOINT).contains(&others), "{} instances: {work:?}", own.len());
    assert_few(&work, "all of a user");
    let mut page = Page { after: None, limit: SHOWN };
    for _ in 0..2 {
        let found = store.page_of_instances(user(7), page).await.unwrap().value;
        assert_few_in_order(&profiler.last_query().await, &format!("{page:?}"));
        page.after = found.get(9).map(|last| last.instance_id);
    }
    for one in [InstanceRef::Id(id(16)), InstanceRef::Name("web-016".parse().unwrap())] {
        assert!(store.instance_of(user(7), &one).await.unwrap().is_some(), "{one:?}");
        let work = profiler.last_query().await;
        assert!(work.documents <= 1 + CHECKPOINT && !work.plan.contains("COLLSCAN"), "{one:?}: {work:?}");
    }
}

#[tokio::test]
async fn pages_of_sessions_read_few_of_many_documents() {
    let mongo = Mongo::shared().await;
    let store = connect(&mongo).await;
    // Most sessions have ended, and are kept.
    let ended: Vec<u64> = (1..=MANY - 50).collect();
    let mut sessions: Vec<_> = (1..=MANY).map(|n| signed_in(n, n % 25 + 1, n, 1_000_000)).collect();
    sessions.push(sessions_ended(MANY + 1, 1, &ended));
    project::<Sessions>(&store, &sessions).await;
    let mut profiler = Profiler::start::<Sessions>(&mongo).await;
    for principal in [None, Some(user(7).into())] {
        let filter = SessionFilter { principal, now: at(MANY) };
        store.sessions_of_all(&filter, Page { after: None, limit: SHOWN }).await.unwrap();
        assert_few(&profiler.last_query().await, &format!("{filter:?}"));
    }
}

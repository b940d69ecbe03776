//! Queries: text is stored unchanged, and users see only their own instances.

use dockhost_domain::tenancy::Status;
use dockhost_projections::backends::Backends;
use dockhost_projections::instances::{InstanceRef, Instances};
use dockhost_projections::sessions::Sessions;
use dockhost_projections::store::Page;
use dockhost_projections::users::Users;

use super::events::{
    at, backend, connected, deleted, enrolled, instance, requested, runs, session, sessions_ended, signed_in,
    signed_up, user,
};
use super::{project, store};

/// Texts that the database could interpret as expressions, operators or paths.
const HOSTILE: [&str; 6] = [r#"{"$ne":null}"#, "$$ROOT", "$seq", "a.b.$", "$literal", "{\"$where\":\"1\"}\u{0}x"];

#[tokio::test]
async fn store_text_like_operators_is_stored_unchanged() {
    let store = store().await;
    let events: Vec<_> = (1..).zip(HOSTILE).map(|(n, text)| signed_up(n, n, text)).collect();
    project::<Users>(&store, &events).await;
    for (n, text) in (1..).zip(HOSTILE) {
        assert_eq!(store.user(user(n)).await.unwrap().unwrap().email.as_deref(), Some(text));
    }
    let events: Vec<_> = (1..).zip(HOSTILE).map(|(n, text)| requested(n, 1, n, &format!("web-{n}"), text)).collect();
    project::<Instances>(&store, &events).await;
    for (instance, text) in store.instances_of(user(1)).await.unwrap().iter().zip(HOSTILE) {
        assert_eq!(instance.state.ssh_public_key.plain().map(String::as_str), Some(text));
    }
}

#[tokio::test]
async fn live_instances_are_read_page_by_page_without_deleted_ones() {
    let store = store().await;
    let mut events = vec![requested(1, 1, 1, "web", "key"), requested(2, 2, 2, "db", "key")];
    events.extend([requested(3, 1, 3, "job", "key"), deleted(4, 1, 3)]);
    project::<Instances>(&store, &events).await;
    let page = store.live_instances_after(None).await.unwrap();
    assert_eq!(page.iter().map(|i| i.instance_id).collect::<Vec<_>>(), [instance(1), instance(2)]);
    let rest = store.live_instances_after(Some(instance(1))).await.unwrap();
    assert_eq!(rest.iter().map(|i| i.instance_id).collect::<Vec<_>>(), [instance(2)]);
}

#[tokio::test]
async fn instances_query_in_pages_has_each_own_instance_once() {
    let store = store().await;
    let mut events: Vec<_> = (1..=5).map(|n| requested(n, 1, n, &format!("web-{n}"), "key")).collect();
    events.extend([requested(6, 2, 6, "other", "key"), deleted(7, 1, 2)]);
    project::<Instances>(&store, &events).await;
    let page = async |after: Option<u64>| {
        let page = Page { after: after.map(instance), limit: 2 };
        let found = store.page_of_instances(user(1), page).await.unwrap();
        found.iter().map(|found| found.instance_id).collect::<Vec<_>>()
    };
    // One more than the page shows, if there are more.
    assert_eq!(page(None).await, [instance(1), instance(3), instance(4)]);
    assert_eq!(page(Some(3)).await, [instance(4), instance(5)]);
    assert_eq!(page(Some(2)).await, [instance(3), instance(4), instance(5)], "also after what is deleted");
    assert_eq!(page(Some(5)).await, []);
}

#[tokio::test]
async fn instances_query_returns_own_instances_that_are_not_deleted() {
    let store = store().await;
    let events = [
        requested(1, 1, 11, "web", "key"),
        requested(2, 2, 12, "web", "key"),
        requested(3, 1, 10, "db", "key"),
        runs(4, 1, 11),
        requested(5, 1, 13, "old", "key"),
        deleted(6, 1, 13),
    ];
    project::<Instances>(&store, &events).await;
    let listed = store.instances_of(user(1)).await.unwrap();
    assert_eq!(listed.iter().map(|i| i.instance_id).collect::<Vec<_>>(), [instance(11), instance(10)]);
    assert_eq!(listed[0].status, Status::Running);
    assert_eq!(listed[0].container_id.as_deref(), Some("container-at-4"));

    let by_name = |name: &str| InstanceRef::Name(name.parse().unwrap());
    let found = async |owner, instance: InstanceRef| {
        store.instance_of(user(owner), &instance).await.unwrap().value.map(|found| found.instance_id)
    };
    assert_eq!(found(1, by_name("web")).await, Some(instance(11)));
    assert_eq!(found(2, by_name("web")).await, Some(instance(12)));
    assert_eq!(found(1, InstanceRef::Id(instance(10))).await, Some(instance(10)));
    for (owner, other) in [(1, InstanceRef::Id(instance(12))), (1, by_name("old")), (1, InstanceRef::Id(instance(13)))]
    {
        assert_eq!(found(owner, other.clone()).await, None, "{other:?}");
    }
    let overdue = store.overdue_instances(at(1_000_001)).await.unwrap();
    assert_eq!(overdue.iter().map(|i| i.instance_id).collect::<Vec<_>>(), [instance(10), instance(12)]);
    assert_eq!(store.overdue_instances(at(1_000_000)).await.unwrap().len(), 0);
}

#[tokio::test]
async fn backends_query_finds_by_id_and_lists_the_oldest_first() {
    let store = store().await;
    project::<Backends>(&store, &[enrolled(1, 2), enrolled(2, 1), enrolled(3, 3), connected(4, 1, "10.0.0.1")]).await;
    let all: Vec<_> = store.all_backends().await.unwrap().iter().map(|b| b.backend_id).collect();
    assert_eq!(all, [backend(2), backend(1), backend(3)]);
    assert_eq!(store.backend(backend(1)).await.unwrap().value.unwrap().address.as_deref(), Some("10.0.0.1"));
    assert_eq!(store.backend(backend(9)).await.unwrap().value, None);
}

#[tokio::test]
async fn sessions_query_returns_own_live_ones_the_newest_first() {
    let store = store().await;
    let events = [
        signed_in(1, 1, 1, 100),
        signed_in(2, 1, 2, 50),
        signed_in(3, 1, 3, 100),
        signed_in(4, 1, 4, 100),
        signed_in(5, 2, 5, 100),
        sessions_ended(6, 1, &[3]),
    ];
    project::<Sessions>(&store, &events).await;
    let live = async |second| {
        let found = store.sessions_of(user(1).into(), at(second)).await.unwrap().value;
        found.iter().map(|session| session.session_id).collect::<Vec<_>>()
    };
    assert_eq!(live(49).await, [session(4), session(2), session(1)]);
    assert_eq!(live(50).await, [session(4), session(1)]);
    assert_eq!(live(100).await, []);
}

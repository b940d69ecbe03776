//! Queries of administrators: filters, pages and counts select the same on a database as `selects` says.

use std::collections::BTreeMap;

use dockhost_domain::account::Role;
use dockhost_domain::tenancy::Status;
use dockhost_projections::MongoStore;
use dockhost_projections::backends::{BackendDocument, Backends};
use dockhost_projections::instances::{InstanceFilter, InstanceSums, Instances, StatusNow, SumBy};
use dockhost_projections::sessions::{SessionFilter, Sessions};
use dockhost_projections::store::Page;
use dockhost_projections::users::{UserDocument, UserFilter, UserState, Users};

use super::events::{
    at, backend, deleted, disabled, enrolled, erased, group, instance, made_admin, made_token, put_into, requested,
    runs, session, sessions_ended, signed_in, signed_up, user,
};
use super::{project, store};

const ALL: u32 = 200;

async fn users(store: &MongoStore, filter: &UserFilter) -> Vec<UserDocument> {
    store.users(filter, Page { after: None, limit: ALL }).await.unwrap().value
}

#[tokio::test]
async fn users_query_selects_as_the_filter_says() {
    let store = store().await;
    let texts =
        ["ada@example.org", "Ada.Lovelace@example.org", "a+b@example.org", "$^.*@example.org", "gone@example.org"];
    let mut events: Vec<_> = (1..).zip(texts).map(|(n, text)| signed_up(n, n, text)).collect();
    events.extend([made_admin(6, 2), erased(7, 5), disabled(8, 3), put_into(9, 1, 1), put_into(10, 3, 1)]);
    project::<Users>(&store, &events).await;
    let everyone = {
        let mut everyone = users(&store, &UserFilter::default()).await;
        let erased = UserFilter { state: Some(UserState::Erased), ..UserFilter::default() };
        everyone.extend(users(&store, &erased).await);
        everyone
    };
    assert_eq!(everyone.len(), texts.len());
    let mut selected = 0;
    for search in
        [None, Some("ADA"), Some("lovelace"), Some("a+b"), Some(".*"), Some("$"), Some("^"), Some("gone"), Some("")]
    {
        for role in [None, Some(Role::User), Some(Role::Admin)] {
            for state in [None, Some(UserState::Active), Some(UserState::Disabled), Some(UserState::Erased)] {
                for group in [None, Some(group(1)), Some(group(2))] {
                    let filter = UserFilter { search: search.map(str::to_owned), role, state, group };
                    let expected: Vec<_> = everyone.iter().filter(|user| filter.selects(user)).cloned().collect();
                    assert_eq!(users(&store, &filter).await, expected, "{filter:?}");
                    selected += expected.len();
                }
            }
        }
    }
    assert!(selected > 20, "the filters select too little: {selected}");
    assert_eq!(store.user_by_id(user(2)).await.unwrap().value.unwrap().role, Role::Admin);
    let members = store.members_of(&[group(1), group(2)]).await.unwrap().value;
    assert_eq!(members, [user(1), user(3)]);
    let names = store.usernames([user(1), user(5), user(9)]).await.unwrap().value;
    assert_eq!(names, BTreeMap::from([(user(1), "ada".parse().unwrap())]));
}

#[tokio::test]
async fn lists_in_pages_skip_and_repeat_nothing() {
    let store = store().await;
    project::<Users>(&store, &(1..=5).map(|n| signed_up(n, n, "a@example.org")).collect::<Vec<_>>()).await;
    project::<Backends>(&store, &(1..=5).map(|n| enrolled(n, n)).collect::<Vec<_>>()).await;
    let (mut after_user, mut after_backend, mut found) = (None, None, Vec::new());
    for shown in [2, 2, 1] {
        // One more than the limit, if there are more.
        let page = Page { after: after_user, limit: 2 };
        let users = store.users(&UserFilter::default(), page).await.unwrap().value;
        let backends = store.backends(None, Page { after: after_backend, limit: 2 }).await.unwrap().value;
        let more = usize::from(shown == 2);
        assert_eq!((users.len(), backends.len()), (shown + more, shown + more));
        found.extend(users.iter().take(2).map(|user| user.user_id));
        after_user = users.get(1).map(|user| user.user_id);
        after_backend = backends.get(1).map(|backend| backend.backend_id);
    }
    assert_eq!(found, (1..=5).map(user).collect::<Vec<_>>());
    let some =
        store.backends(Some(&[backend(4), backend(2), backend(9)]), Page { after: None, limit: 1 }).await.unwrap();
    let rest =
        store.backends(Some(&[backend(4), backend(2)]), Page { after: Some(backend(2)), limit: 1 }).await.unwrap();
    let ids = |found: Vec<BackendDocument>| found.into_iter().map(|one| one.backend_id).collect::<Vec<_>>();
    assert_eq!((ids(some.value), ids(rest.value)), (vec![backend(2), backend(4)], vec![backend(4)]));
}

#[tokio::test]
async fn instances_query_of_all_users_selects_as_the_filter_says() {
    let store = store().await;
    let events = [
        requested(1, 1, 11, "web", "key"),
        requested(2, 2, 12, "db", "key"),
        runs(3, 2, 12),
        requested(4, 1, 13, "gone", "key"),
        deleted(5, 1, 13),
    ];
    project::<Instances>(&store, &events).await;
    let all = |filter: InstanceFilter| {
        let store = store.clone();
        async move { store.instances_of_all(&filter, Page { after: None, limit: ALL }).await.unwrap().value }
    };
    let everything = all(InstanceFilter::default()).await;
    assert_eq!(everything.iter().map(|one| one.instance_id).collect::<Vec<_>>(), [instance(11), instance(12)]);
    let mut selected = 0;
    for reachable in [vec![], vec![backend(100)]] {
        for status in [Status::Creating, Status::Running, Status::Stopped, Status::Unreachable, Status::Failed] {
            for owner in [None, Some(user(1)), Some(user(2))] {
                for backend in [None, Some(backend(100)), Some(backend(7))] {
                    let status = Some(StatusNow { status, reachable: reachable.clone() });
                    for created_before in [None, Some(at(2)), Some(at(3))] {
                        let status = status.clone();
                        let owners = created_before.map(|_| vec![user(2), user(9)]);
                        let name_prefix = created_before.map(|_| "d".to_owned());
                        let filter = InstanceFilter {
                            name_prefix,
                            owner,
                            owners,
                            backend,
                            status,
                            created_before,
                            ..InstanceFilter::default()
                        };
                        let expected: Vec<_> = everything.iter().filter(|one| filter.selects(one)).cloned().collect();
                        assert_eq!(all(filter.clone()).await, expected, "{filter:?}");
                        selected += expected.len();
                    }
                }
            }
        }
    }
    assert!(selected > 10, "the filters select too little: {selected}");
    for (prefix, deadline, expected) in [
        ("", None, vec![11, 12]),
        ("we", None, vec![11]),
        ("web", None, vec![11]),
        ("webs", None, vec![]),
        ("eb", None, vec![]),
        (".*", None, vec![]),
        ("", Some(at(1_000_000)), vec![]),
        ("", Some(at(1_000_001)), vec![11]),
    ] {
        let name_prefix = Some(prefix.to_owned());
        let filter = InstanceFilter { name_prefix, deadline_before: deadline, ..InstanceFilter::default() };
        let expected: Vec<_> = expected.into_iter().map(instance).collect();
        let found = all(filter.clone()).await;
        assert_eq!(found.iter().map(|one| one.instance_id).collect::<Vec<_>>(), expected, "{filter:?}");
        let selected = everything.iter().filter(|one| filter.selects(one)).map(|one| one.instance_id);
        assert_eq!(selected.collect::<Vec<_>>(), expected, "{filter:?}");
    }
    let sums = async |by, ids: &[String]| store.instance_sums(by, ids).await.unwrap().value;
    let one = InstanceSums { instances: 1, cpu_millis: 1000, memory_mib: 512 };
    let two = InstanceSums { instances: 2, cpu_millis: 2000, memory_mib: 1024 };
    let ids = [user(1).to_string(), user(2).to_string(), user(3).to_string()];
    assert_eq!(sums(SumBy::Owner, &ids).await, BTreeMap::from([(ids[0].clone(), one), (ids[1].clone(), one)]));
    let ids = [backend(100).to_string(), backend(7).to_string()];
    assert_eq!(sums(SumBy::Backend, &ids).await, BTreeMap::from([(ids[0].clone(), two)]));
}

#[tokio::test]
async fn last_sign_in_is_the_latest_also_of_ended_sessions_but_of_no_api_token() {
    let store = store().await;
    let events = [
        signed_in(1, 1, 11, 900),
        signed_in(2, 1, 12, 3),
        made_token(3, 1, 13),
        made_token(4, 2, 21),
        signed_in(5, 3, 31, 900),
        sessions_ended(6, 1, &[12]),
    ];
    project::<Sessions>(&store, &events).await;
    let last = store.last_sign_ins(&[1, 2, 9].map(|n| user(n).into())).await.unwrap().value;
    assert_eq!(last, BTreeMap::from([(user(1).into(), at(2))]));
}

#[tokio::test]
async fn sessions_query_of_everybody_has_the_newest_first_in_pages() {
    let store = store().await;
    let events = [
        signed_in(1, 1, 11, 900),
        signed_in(2, 2, 12, 900),
        signed_in(3, 1, 13, 3),
        made_token(4, 1, 14),
        signed_in(5, 3, 15, 900),
        sessions_ended(6, 2, &[12]),
    ];
    project::<Sessions>(&store, &events).await;
    let ids = async |principal: Option<u64>, after: Option<u64>, limit: u32| {
        let filter = SessionFilter { principal: principal.map(|n| user(n).into()), now: at(7) };
        let page = Page { after: after.map(session), limit };
        let found = store.sessions_of_all(&filter, page).await.unwrap().value;
        assert!(found.iter().all(|session| filter.selects(session)), "{found:?}");
        found.iter().map(|session| session.session_id).collect::<Vec<_>>()
    };
    // One more than the limit, if there are more.
    assert_eq!(ids(None, None, ALL).await, [15, 14, 11].map(session));
    assert_eq!(ids(None, None, 1).await, [15, 14].map(session));
    assert_eq!(ids(None, Some(15), 1).await, [14, 11].map(session));
    assert_eq!(ids(None, Some(11), 1).await, []);
    assert_eq!(ids(Some(1), None, ALL).await, [14, 11].map(session));
    let found = store.session(session(12)).await.unwrap().value.unwrap();
    assert_eq!((found.principal_id, found.revoked_at.is_some()), (user(2).into(), true));
    assert_eq!(store.session(session(99)).await.unwrap().value, None);
}

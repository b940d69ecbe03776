//! The contract of both adapters.

use dockhost::event_log::{AppendError, Delivery, Filter, LogError};
use dockhost_domain::subject::AggregateId;

use super::world::{World, at, sequences, sign_in, sign_up, user};

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::World::memory()).await;
            })*
        }
        mod jetstream {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::World::jetstream().await).await;
            })*
        }
    };
}

contract!(
    append_returns_the_sequence_and_load_returns_events_in_order,
    append_wrong_expectation_conflicts_and_stores_nothing,
    append_concurrent_with_one_expectation_exactly_one_wins,
    append_repeated_event_returns_its_first_sequence,
    load_long_aggregate_returns_all_events_in_order,
    append_batch_stores_all_in_order_or_none,
    append_batch_repeated_returns_its_last_sequence,
    follow_from_start_delivers_all_and_then_caught_up,
    follow_from_middle_delivers_the_rest,
    follow_one_kind_skips_the_others,
    follow_empty_log_is_caught_up_and_then_idle,
    follow_unreadable_event_is_delivered_and_freezes_its_aggregate,
);

async fn append_returns_the_sequence_and_load_returns_events_in_order(world: &World) {
    let ada = user();
    let aggregate = AggregateId::Account(ada);
    assert_eq!(world.log().last_sequence(aggregate).await.unwrap(), 0);
    assert_eq!(world.log().load(aggregate, 0).await.unwrap(), []);
    let up = sign_up(ada);
    let ins = [sign_in(ada), sign_in(ada)];
    assert_eq!(world.append(0, &up).await, 1);
    assert_eq!(world.append(0, &ins[0]).await, 2);
    assert_eq!(world.append(2, &ins[1]).await, 3);
    let account = world.log().load(aggregate, 0).await.unwrap();
    assert_eq!(account.len(), 1);
    assert_eq!((account[0].sequence, &account[0].envelope), (1, &up));
    let session = ins[0].aggregate;
    let loaded = world.log().load(session, 0).await.unwrap();
    assert_eq!(sequences(&loaded), [2, 3]);
    assert_eq!(loaded.into_iter().map(|recorded| recorded.envelope).collect::<Vec<_>>(), ins);
    assert_eq!(sequences(&world.log().load(session, 2).await.unwrap()), [3]);
    assert_eq!(world.log().last_sequence(session).await.unwrap(), 3);
    assert_eq!(world.log().end(Filter::All).await.unwrap(), 3);
}

async fn append_wrong_expectation_conflicts_and_stores_nothing(world: &World) {
    let ada = user();
    world.append(0, &sign_in(ada)).await;
    for expected in [0, 2] {
        let error = world.log().append(at(expected, &sign_in(ada))).await.unwrap_err();
        assert!(error.is_conflict(), "{error:?}");
    }
    assert_eq!(world.log().end(Filter::All).await.unwrap(), 1);
}

async fn append_concurrent_with_one_expectation_exactly_one_wins(world: &World) {
    let ada = user();
    let appends: Vec<_> = (0..20).map(|_| at(0, &sign_in(ada))).collect();
    let outcomes = futures::future::join_all(appends.into_iter().map(|entry| world.log().append(entry))).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|outcome| outcome.as_ref().is_err_and(AppendError::is_conflict)), "{lost:?}");
    assert_eq!(world.log().end(Filter::All).await.unwrap(), 1);
}

async fn append_repeated_event_returns_its_first_sequence(world: &World) {
    let ada = user();
    let first = sign_in(ada);
    assert_eq!(world.append(0, &first).await, 1);
    world.append(1, &sign_in(ada)).await;
    assert_eq!(world.append(0, &first).await, 1);
    assert_eq!(world.log().end(Filter::All).await.unwrap(), 2);
}

async fn load_long_aggregate_returns_all_events_in_order(world: &World) {
    let (ada, other) = (user(), user());
    let (mut mine, mut last) = (Vec::new(), 0);
    for n in 0..40 {
        last = world.append(last, &sign_in(ada)).await;
        mine.push(last);
        if n % 7 == 0 {
            world.append(0, &sign_up(user())).await;
        }
    }
    world.append(0, &sign_in(other)).await;
    let session = sign_in(ada).aggregate;
    assert_eq!(sequences(&world.log().load(session, 0).await.unwrap()), mine);
    assert_eq!(sequences(&world.log().load(session, mine[2]).await.unwrap()), mine[3..]);
    assert_eq!(sequences(&world.log().load(session, mine[39]).await.unwrap()), [0; 0]);
}

async fn append_batch_stores_all_in_order_or_none(world: &World) {
    let (ada, bob) = (user(), user());
    let batch = [sign_up(ada), sign_in(ada)];
    let last = world.log().append_batch(batch.iter().map(|event| at(0, event)).collect()).await.unwrap();
    assert_eq!(last, 2);
    assert_eq!(world.log().last_sequence(batch[0].aggregate).await.unwrap(), 1);
    for conflict in 0..3 {
        let parts = [sign_up(bob), sign_in(bob), sign_in(user())];
        let entries = (0..).zip(&parts).map(|(n, event)| at(if n == conflict { 1 } else { 0 }, event)).collect();
        let error = world.log().append_batch(entries).await.unwrap_err();
        assert!(matches!(error, AppendError::Conflict), "{conflict}: {error:?}");
        assert_eq!(world.log().end(Filter::All).await.unwrap(), 2, "{conflict}");
    }
    let again: Vec<_> = [sign_up(bob), sign_in(bob)].iter().map(|event| at(0, event)).collect();
    assert_eq!(world.log().append_batch(again).await.unwrap(), 4);
}

async fn append_batch_repeated_returns_its_last_sequence(world: &World) {
    let ada = user();
    let entries: Vec<_> = [sign_up(ada), sign_in(ada)].iter().map(|event| at(0, event)).collect();
    assert_eq!(world.log().append_batch(entries.clone()).await.unwrap(), 2);
    world.append(2, &sign_in(ada)).await;
    assert_eq!(world.log().append_batch(entries).await.unwrap(), 2);
    assert_eq!(world.log().end(Filter::All).await.unwrap(), 3);
}

async fn follow_from_start_delivers_all_and_then_caught_up(world: &World) {
    let ada = user();
    world.append(0, &sign_up(ada)).await;
    world.append(0, &sign_in(ada)).await;
    let mut reader = world.follow(0, Filter::All);
    assert_eq!([reader.event().await, reader.event().await], [1, 2]);
    reader.caught_up().await;
    let third = sign_in(ada);
    world.append(2, &third).await;
    match reader.next_busy().await {
        Delivery::Event(recorded) => assert_eq!((recorded.sequence, &recorded.envelope), (3, &third)),
        other => panic!("{other:?}"),
    }
}

async fn follow_from_middle_delivers_the_rest(world: &World) {
    let ada = user();
    for expected in 0..4 {
        world.append(expected, &sign_in(ada)).await;
    }
    let mut reader = world.follow(2, Filter::All);
    assert_eq!([reader.event().await, reader.event().await], [3, 4]);
    reader.caught_up().await;
    let mut reader = world.follow(4, Filter::All);
    reader.caught_up().await;
}

async fn follow_one_kind_skips_the_others(world: &World) {
    let ada = user();
    world.append(0, &sign_up(ada)).await;
    world.append(0, &sign_in(ada)).await;
    world.append(0, &sign_up(user())).await;
    world.append(2, &sign_in(ada)).await;
    let mut reader = world.follow(0, Filter::Kind("account"));
    assert_eq!([reader.event().await, reader.event().await], [1, 3]);
    reader.caught_up().await;
    let account = sign_up(ada).aggregate;
    let mut one = world.follow(0, Filter::One(account));
    assert_eq!(one.event().await, 1);
    one.caught_up().await;
    assert_eq!(world.log().end(Filter::One(account)).await.unwrap(), 1);
    world.append(4, &sign_in(ada)).await;
    world.append(0, &sign_up(user())).await;
    assert_eq!(reader.event().await, 6);
}

async fn follow_empty_log_is_caught_up_and_then_idle(world: &World) {
    let mut reader = world.follow(0, Filter::All);
    reader.caught_up().await;
    for _ in 0..2 {
        let delivery = reader.next().await;
        assert!(matches!(delivery, Delivery::Idle), "{delivery:?}");
    }
}

async fn follow_unreadable_event_is_delivered_and_freezes_its_aggregate(world: &World) {
    let ada = user();
    world.append(0, &sign_up(ada)).await;
    let frozen = world.put_unreadable(AggregateId::Account(ada)).await;
    world.append(0, &sign_in(ada)).await;
    let mut reader = world.follow(0, Filter::All);
    assert_eq!(reader.event().await, 1);
    match reader.next_busy().await {
        Delivery::Unreadable { sequence, subject, why } => {
            assert_eq!((sequence, subject), (frozen, AggregateId::Account(ada).to_string()));
            assert!(!why.is_empty());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(reader.event().await, 3);
    let error = world.log().load(AggregateId::Account(ada), 0).await.unwrap_err();
    assert!(matches!(error, LogError::Frozen { sequence, .. } if sequence == frozen), "{error:?}");
    assert_eq!(sequences(&world.log().load(sign_in(ada).aggregate, 0).await.unwrap()), [3]);
}

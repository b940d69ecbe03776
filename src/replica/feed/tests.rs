//! Tests of the feed without a read model: what may be shown is released by hand.

use dockhost_domain::ids::UserId;
use dockhost_domain::subject::AggregateId;
use dockhost_projections::Unreadable;
use futures::FutureExt;
use uuid::Uuid;

use super::*;

fn user(n: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(n))
}

fn audience(n: u128) -> Audience {
    Audience::Of(user(n).into())
}

fn entry(owner: u128, sequence: u64) -> LogEntry {
    LogEntry::Unreadable(Unreadable::new(AggregateId::Tenancy(user(owner)).to_string(), sequence, "test"))
}

fn sequences(entries: &[LogEntry]) -> Vec<u64> {
    entries.iter().map(LogEntry::sequence).collect()
}

fn feed(capacity: usize) -> Arc<Feed> {
    Arc::new(Feed::with_capacity(capacity))
}

/// Pushes an entry and releases it.
fn show(feed: &Feed, owner: u128, sequence: u64) {
    feed.push(entry(owner, sequence));
    feed.release(|_| true);
}

fn live(feed: &Arc<Feed>, audience: Audience, after: u64) -> (Vec<u64>, Subscription) {
    match feed.next(audience, after, 100) {
        Next::Live(entries, _, subscription) => (sequences(&entries), subscription),
        other => panic!("{other:?}"),
    }
}

/// What waits for a subscriber now; none if the subscription has ended.
fn waiting(subscription: &mut Subscription) -> Option<Vec<u64>> {
    let mut entries = Vec::new();
    match subscription.wait(&mut entries, 1000).now_or_never() {
        Some(()) if entries.is_empty() => None,
        Some(()) | None => Some(sequences(&entries)),
    }
}

#[test]
fn feed_subscriber_gets_the_entries_of_its_audience_only() {
    let feed = feed(10);
    let (mut one, mut two, mut all) =
        (live(&feed, audience(1), 0).1, live(&feed, audience(2), 0).1, live(&feed, Audience::All, 0).1);
    for (owner, sequence) in [(1, 1), (2, 2), (1, 4)] {
        show(&feed, owner, sequence);
    }
    feed.push(LogEntry::Unreadable(Unreadable::new("dockhost.event.unknown.x", 5, "test")));
    feed.release(|_| true);
    assert_eq!(waiting(&mut one), Some(vec![1, 4]));
    assert_eq!(waiting(&mut two), Some(vec![2]));
    assert_eq!(waiting(&mut all), Some(vec![1, 2, 4, 5]));
}

#[test]
fn feed_entry_that_is_held_back_is_shown_when_it_is_released() {
    let feed = feed(10);
    let mut one = live(&feed, audience(1), 0).1;
    feed.push(entry(1, 1));
    assert_eq!((waiting(&mut one), feed.position()), (Some(vec![]), 0));
    let (missed, mut later) = live(&feed, audience(1), 0);
    feed.release(|_| true);
    assert_eq!((waiting(&mut one), missed, waiting(&mut later)), (Some(vec![1]), vec![], Some(vec![1])));
    assert_eq!(feed.position(), 1);
}

#[test]
fn feed_subscriber_resumes_after_its_position_in_pages() {
    let feed = feed(10);
    for sequence in 1..=5 {
        show(&feed, u128::from(sequence % 2), sequence);
    }
    let Next::Page(entries, position) = feed.next(audience(1), 0, 2) else { panic!("no page") };
    assert_eq!((sequences(&entries), position), (vec![1, 3], 3));
    assert_eq!(live(&feed, audience(1), position).0, [5]);
    // Another replica was ahead: what comes until then was shown there.
    let Next::Live(entries, position, _) = feed.next(audience(1), 8, 2) else { panic!("not live") };
    assert_eq!((sequences(&entries), position), (vec![], 8));
}

#[test]
fn feed_position_before_the_ring_is_read_from_the_log() {
    let feed = feed(2);
    for sequence in 1..=5 {
        show(&feed, 1, sequence);
    }
    assert!(matches!(feed.next(audience(1), 2, 9), Next::InLog(5)));
    assert_eq!(live(&feed, audience(1), 3).0, [4, 5]);
}

#[test]
fn feed_subscriber_that_is_too_slow_gets_what_waits_and_then_the_end() {
    let feed = feed(1000);
    let (mut slow, mut quick) = (live(&feed, audience(1), 0).1, live(&feed, audience(1), 0).1);
    let last = u64::try_from(QUEUE).unwrap() + 1;
    for sequence in 1..=last {
        show(&feed, 1, sequence);
        assert_eq!(waiting(&mut quick), Some(vec![sequence]), "a slow subscriber holds up another one");
    }
    assert_eq!(waiting(&mut slow), Some((1..last).collect()));
    assert_eq!((waiting(&mut slow), slow.position()), (None, None));
    assert_eq!(quick.position(), Some(last));
}

#[test]
fn feed_full_of_held_entries_ends_all_subscriptions() {
    let feed = feed(2);
    let mut one = live(&feed, audience(1), 0).1;
    for sequence in 1..=3 {
        feed.push(entry(1, sequence));
    }
    assert_eq!((waiting(&mut one), feed.position()), (None, 3));
}

#[test]
fn feed_forgets_subscriptions_that_were_dropped() {
    let feed = feed(10);
    let subscriptions = [live(&feed, audience(1), 0), live(&feed, audience(1), 0), live(&feed, Audience::All, 0)];
    assert_eq!(feed.state().subscribers.len(), 2);
    drop(subscriptions);
    assert!(feed.state().subscribers.is_empty());
}

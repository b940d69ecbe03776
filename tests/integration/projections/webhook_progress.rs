//! How far the deliveries of webhooks are.

use dockhost_domain::ids::{EventId, WebhookId};
use dockhost_projections::MongoStore;
use dockhost_projections::store::{Saved, WebhookProgress};
use uuid::Uuid;

use super::store;

fn id(n: u128) -> WebhookId {
    WebhookId::from_uuid(Uuid::from_u128(n))
}

fn progress(log: &str, position: u64) -> WebhookProgress {
    WebhookProgress {
        log: log.to_owned(),
        began_with: EventId::from_uuid(Uuid::nil()),
        position,
        delivered_at: None,
        failing: None,
        attempts: vec![],
    }
}

async fn save(store: &MongoStore, n: u128, replaced: Option<i64>, progress: &WebhookProgress) -> Saved {
    store.save_webhook_progress(id(n), replaced, progress).await.unwrap()
}

async fn position(store: &MongoStore, n: u128) -> Option<u64> {
    store.webhook_progress(&[id(n)]).await.unwrap().remove(&id(n)).map(|(_, progress)| progress.position)
}

#[tokio::test]
async fn webhook_progress_is_stored_by_one_leader_at_a_time() {
    let store = store().await;
    assert_eq!(save(&store, 1, None, &progress("one", 7)).await, Saved::As(1));
    assert_eq!(save(&store, 1, Some(1), &progress("one", 8)).await, Saved::As(2));
    for replaced in [None, Some(1)] {
        assert_eq!(save(&store, 1, replaced, &progress("one", 3)).await, Saved::Superseded, "{replaced:?}");
    }
    assert_eq!(position(&store, 1).await, Some(8));
}

#[tokio::test]
async fn webhook_progress_in_a_log_that_was_restored_is_not_after_its_end() {
    let store = store().await;
    for (n, log, position) in [(1, "former", 170), (2, "former", 70), (3, "this", 170)] {
        save(&store, n, None, &progress(log, position)).await;
    }
    store.limit_webhook_progress("this", 100).await.unwrap();
    // A later leader finds a longer log, in which other events have the sequences that were sent before.
    store.limit_webhook_progress("this", 200).await.unwrap();
    let positions = [position(&store, 1).await, position(&store, 2).await, position(&store, 3).await];
    assert_eq!(positions, [Some(100), Some(70), Some(170)]);
    assert_eq!(save(&store, 1, Some(1), &progress("former", 180)).await, Saved::Superseded, "a former leader");
}

#[tokio::test]
async fn webhook_progress_that_is_removed_is_that_of_the_webhooks_named() {
    let store = store().await;
    assert_eq!(store.begin_webhook_progress(5).await.unwrap(), 5);
    for n in 1..=3 {
        save(&store, n, None, &progress("one", 7)).await;
    }
    assert_eq!(store.webhooks_with_progress().await.unwrap().len(), 3);
    store.remove_webhook_progress(&[id(1), id(3)]).await.unwrap();
    store.remove_webhook_progress(&[]).await.unwrap();
    assert_eq!(store.webhooks_with_progress().await.unwrap(), [id(2)]);
    assert_eq!(store.begin_webhook_progress(9).await.unwrap(), 5, "it is still known since when there are checkpoints");
}

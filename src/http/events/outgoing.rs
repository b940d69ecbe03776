//! What webhooks are sent: the messages of event streams, read by the leader's role.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::ids::UserId;
use dockhost_domain::webhook::EventFilter;
use dockhost_projections::LogEntry;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::answer::json_line;
use super::log_page;
use super::view::{Message, Reader, instance_of, messages};
use crate::http::app::App;
use crate::http::past::LogReader;
use crate::http::past::audit::AuditFilter;
use crate::http::response::ApiError;
use crate::replica::feed::{Next, Subscription};
use crate::webhooks::source::{Batch, Lane, MessageSource, Outgoing};

/// Messages that are read at once. A receiver that is away holds some of them in memory, for days.
const BATCH: usize = 16;
/// Entries that are taken from the log at once.
const PAGE: usize = 64;
/// After this long without an entry, the position is that of the feed.
const QUIET: Duration = Duration::from_secs(5);
/// How long after a failure it is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The longest body. A message that is longer is sent without its `data`, which the receiver can fetch.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Reads what webhooks are sent, on this replica.
pub struct WebhookMessages {
    app: Arc<App>,
    /// Not that of the streams: whoever has webhooks with a lot to catch up takes no time from them.
    log_reader: Arc<LogReader>,
}

/// What one webhook is sent.
struct Reading {
    app: Arc<App>,
    log_reader: Arc<LogReader>,
    owner: UserId,
    reader: Reader,
    /// Everything up to here was read.
    position: u64,
    /// What was read of the log and not yet shown.
    page: Vec<LogEntry>,
    /// Where the page ends.
    page_end: u64,
    subscription: Option<Subscription>,
}

impl WebhookMessages {
    /// For a replica.
    pub fn new(app: Arc<App>) -> Self {
        Self { app, log_reader: Arc::default() }
    }
}

impl MessageSource for WebhookMessages {
    fn read(&self, owner: UserId, filter: Option<EventFilter>, after: u64) -> mpsc::Receiver<Batch> {
        let (out, batches) = mpsc::channel(1);
        let mut reading = Reading {
            app: Arc::clone(&self.app),
            log_reader: Arc::clone(&self.log_reader),
            owner,
            reader: filter.map_or(Reader::Owner(owner), |filter| Reader::Administrator(audit_filter(filter))),
            position: after,
            page: Vec::new(),
            page_end: after,
            subscription: None,
        };
        tokio::spawn(async move {
            tokio::select! {
                () = out.closed() => {}
                () = reading.run(&out) => {}
            }
        });
        batches
    }
}

/// The filter of a webhook as that of the audit.
fn audit_filter(EventFilter { user, machine, instance, kind }: EventFilter) -> AuditFilter {
    AuditFilter { user, machine, instance, kind: kind.map(|kind| kind.to_string()), ..AuditFilter::default() }
}

impl Reading {
    async fn run(&mut self, out: &mpsc::Sender<Batch>) {
        self.app.follower.wait_until_applied(self.position).await;
        loop {
            match self.next().await {
                Ok(batch) => {
                    self.position = batch.position;
                    if out.send(batch).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(
                        code = error.code().as_str(),
                        message = error.message(),
                        "reading for a webhook failed"
                    );
                    // What was taken of them is not shown: read it again.
                    (self.subscription, self.page) = (None, Vec::new());
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    /// The messages after the position, once there are some; or a later position before which there are none.
    async fn next(&mut self) -> Result<Batch, ApiError> {
        loop {
            if !self.page.is_empty() {
                let entries: Vec<_> = self.page.drain(..BATCH.min(self.page.len())).collect();
                let end = if self.page.is_empty() { self.page_end } else { last_of(&entries, self.position) };
                return self.show(&entries, end).await;
            }
            if let Some(subscription) = &mut self.subscription {
                let mut entries = Vec::new();
                let is_quiet = timeout(QUIET, subscription.wait(&mut entries, BATCH)).await.is_err();
                match subscription.position().filter(|_| is_quiet) {
                    Some(position) if position > self.position => return Ok(Batch { messages: vec![], position }),
                    _ if is_quiet => continue,
                    // It was too slow: the feed or the log has what is missing.
                    _ if entries.is_empty() => self.subscription = None,
                    _ => {
                        entries.retain(|entry| entry.sequence() > self.position);
                        let end = last_of(&entries, self.position);
                        return self.show(&entries, end).await;
                    }
                }
            }
            let (entries, end) = match self.app.follower.feed().next(self.reader.audience(), self.position, BATCH) {
                Next::InLog(to) => {
                    let range = (self.position, to);
                    log_page::read(&self.app, &self.log_reader, self.owner.into(), &self.reader, range, PAGE).await?
                }
                Next::Page(entries, end) => (entries, end),
                Next::Live(entries, end, subscription) => {
                    self.subscription = Some(subscription);
                    (entries, end)
                }
            };
            if entries.is_empty() && end > self.position {
                return Ok(Batch { messages: vec![], position: end });
            }
            (self.page, self.page_end) = (entries, end);
        }
    }

    /// The messages about entries, which are all up to a position.
    async fn show(&self, entries: &[LogEntry], position: u64) -> Result<Batch, ApiError> {
        let messages = messages(&self.app, &self.reader, entries).await?;
        let sent = messages.iter().map(|(entry, message)| outgoing(entry, message));
        Ok(Batch { messages: sent.collect::<Result<_, _>>()?, position })
    }
}

fn last_of(entries: &[LogEntry], position: u64) -> u64 {
    entries.last().map_or(position, LogEntry::sequence)
}

fn outgoing(entry: &LogEntry, message: &Message) -> Result<Outgoing, ApiError> {
    let body = json_line(message, true).map_err(|error| ApiError::internal(&error))?;
    let body = if body.len() > MAX_BODY_BYTES {
        json_line(message, false).map_err(|error| ApiError::internal(&error))?
    } else {
        body
    };
    let (message_id, happened_at, lane) = match entry {
        LogEntry::Event(recorded) => {
            let meta = &recorded.envelope.meta;
            let aggregate = Lane::Aggregate(recorded.envelope.aggregate);
            (meta.id.to_string(), Some(meta.time), instance_of(entry).map_or(aggregate, Lane::Instance))
        }
        LogEntry::Unreadable(unreadable) => (format!("unreadable-{}", unreadable.sequence), None, Lane::Unreadable),
    };
    Ok(Outgoing { sequence: entry.sequence(), lane, message_id, happened_at, body })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::http::testing::TestApp;

    async fn read(batches: &mut mpsc::Receiver<Batch>, most: u64) -> Vec<Outgoing> {
        let mut all = Vec::new();
        loop {
            let batch = timeout(Duration::from_secs(20), batches.recv()).await.unwrap().unwrap();
            all.extend(batch.messages);
            if batch.position >= most {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn webhook_messages_are_those_of_the_event_stream() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (ada, eve) = (app.user("ada").await, app.user("eve").await);
        app.running_instance(&ada, "web").await;
        app.running_instance(&eve, "other").await;
        app.settle().await;
        let source = WebhookMessages::new(Arc::clone(&app.app));
        let mut batches = source.read(ada.id, None, 0);
        let sent = read(&mut batches, app.log.last()).await;
        assert!(!sent.is_empty() && sent.is_sorted_by_key(|message| message.sequence), "{sent:?}");
        let bodies: Vec<Value> = sent.iter().map(|message| serde_json::from_slice(&message.body).unwrap()).collect();
        for (message, body) in sent.iter().zip(&bodies) {
            assert_eq!(body["id"], app.app.position(message.sequence));
            assert_eq!(body["data"]["event"]["id"], message.message_id);
        }
        let text = format!("{bodies:?}");
        assert!(text.contains("web") && !text.contains("other"), "{text}");
        assert!(sent.iter().any(|message| matches!(message.lane, Lane::Instance(_))));

        // What follows arrives as it happens.
        app.running_instance(&ada, "second").await;
        let later = read(&mut batches, app.log.last()).await;
        assert!(later.iter().any(|message| String::from_utf8_lossy(&message.body).contains("second")), "{later:?}");
    }

    #[tokio::test]
    async fn webhook_messages_of_everybody_are_what_the_filter_selects() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        app.running_instance(&ada, "web").await;
        app.settle().await;
        let source = WebhookMessages::new(Arc::clone(&app.app));
        let filter = EventFilter { kind: Some("instance.requested".parse().unwrap()), ..EventFilter::default() };
        let sent = read(&mut source.read(boss.id, Some(filter), 0), app.log.last()).await;
        let [message] = &sent[..] else { panic!("{sent:?}") };
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(body["data"]["event"]["type"], "dockhost.instance.requested.v1");
        assert_eq!(body["data"]["event"]["data"]["name"], "(personal)");
    }
}

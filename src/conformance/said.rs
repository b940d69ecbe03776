//! What the backend says: every message on its subjects, in the order in which the broker delivers them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Message, Subscriber};
use dockhost_domain::ids::{AgentRunId, BackendId};
use dockhost_domain::reported;
use dockhost_domain::subject::Channel;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::{AGENT_RUN_HEADER, Confirm, Heartbeat, HeartbeatAnswer, Hello, Report};
use futures::StreamExt;
use tokio::sync::watch;

use crate::broker::connect::Broker;
use crate::broker::hello::Heartbeats;
use crate::broker::key_holder::{Heard, LastHeard};
use crate::broker::streams::incarnation::LastSeen;
use crate::common::clock;
use crate::common::error::Cause;

/// A message of the backend.
#[derive(Debug, Clone)]
pub enum Said {
    /// A request on the subject of hellos.
    Hello(Hello),
    /// A question whether an assignment is current.
    Confirm(Confirm),
    /// A report, which the broker stores.
    Report {
        /// Its body.
        report: Box<Report>,
        /// By which the broker stores it once.
        id: Option<String>,
        /// The sender's run.
        run: Option<AgentRunId>,
    },
    /// A heartbeat.
    Heartbeat(Box<Heartbeat>),
    /// A message that the server would drop or refuse.
    Invalid(String),
}

struct LastHeartbeat {
    run: Option<AgentRunId>,
    is_leaving: bool,
    at: Timestamp,
    received: Instant,
}

/// Keeps what is said.
pub struct Record {
    messages: Mutex<Vec<Said>>,
    count: watch::Sender<usize>,
    began: Instant,
    last_heartbeat: Mutex<Option<LastHeartbeat>>,
    /// An invented agent with the same key, which was heard just now.
    other: Mutex<Option<AgentRunId>>,
}

impl Default for Record {
    fn default() -> Self {
        let (count, _) = watch::channel(0);
        let (messages, last_heartbeat, other) = Default::default();
        Self { messages, count, began: Instant::now(), last_heartbeat, other }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Record {
    /// How many messages there are; what is said from now on comes after so many.
    pub fn mark(&self) -> usize {
        lock(&self.messages).len()
    }

    /// The messages after the first `from`.
    pub fn since(&self, from: usize) -> Vec<Said> {
        lock(&self.messages).get(from..).unwrap_or_default().to_vec()
    }

    /// The first thing that `find` finds in what is said after `from`, as soon as it is said.
    pub async fn find<T>(&self, from: usize, within: Duration, find: impl Fn(&Said) -> Option<T>) -> Option<T> {
        let mut changes = self.count.subscribe();
        let search = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = self.since(from).iter().find_map(&find) {
                    return Some(found);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(within, search).await.ok().flatten()
    }

    /// Lets hellos be refused, because another agent with the same key acts for the backend.
    pub fn pretend_other(&self, run: Option<AgentRunId>) {
        *lock(&self.other) = run;
    }

    /// Subscribes to all that the backend sends.
    pub async fn subscribe(broker: &Broker, backend: BackendId) -> Result<Subscriber, Cause> {
        let subscriber = broker.client().subscribe(format!("dockhost.*.{backend}")).await?;
        broker.client().flush().await?;
        Ok(subscriber)
    }

    /// Keeps what is said, and answers heartbeats as a server does, for as long as the broker's client exists.
    pub async fn run(&self, mut messages: Subscriber, broker: &Broker, reports: &LastSeen) {
        while let Some(message) = messages.next().await {
            let Some(said) = parse(&message) else { continue };
            if let Said::Heartbeat(heartbeat) = &said {
                let Heartbeat { agent_run: run, leaving: is_leaving, .. } = **heartbeat;
                let heard = LastHeartbeat { run, is_leaving, at: clock::now(), received: Instant::now() };
                *lock(&self.last_heartbeat) = Some(heard);
                let answer = HeartbeatAnswer { reports_created_at: reports.created_at() };
                if let (Some(reply), Ok(body)) = (message.reply, serde_json::to_vec(&answer))
                    && let Err(error) = broker.client().publish(reply, body.into()).await
                {
                    tracing::warn!(%error, "the answer to a heartbeat is not sent");
                }
            }
            lock(&self.messages).push(said);
            self.count.send_modify(|count| *count += 1);
        }
    }
}

impl Heartbeats for Record {
    fn heard(&self, _: BackendId) -> Heard {
        if let Some(run) = *lock(&self.other) {
            let last = LastHeard { run, at: clock::now(), is_leaving: false };
            return Heard { silence: Some(Duration::ZERO), last: Some(last) };
        }
        let heard = lock(&self.last_heartbeat);
        let silence = heard.as_ref().map_or(self.began, |last| last.received).elapsed();
        let last = heard.as_ref().and_then(|last| Some((last.run?, last.at, last.is_leaving)));
        let last = last.map(|(run, at, is_leaving)| LastHeard { run, at, is_leaving });
        Heard { silence: Some(silence), last }
    }
}

/// What a message says; `None` on subjects that are not the backend's.
fn parse(message: &Message) -> Option<Said> {
    let body = &message.payload;
    let header = |name: &str| message.headers.as_ref()?.get(name).map(ToString::to_string);
    let (kind, parsed) = match message.subject.parse().ok()? {
        Channel::Hello(_) => ("hello", reported::parse(body).map(Said::Hello)),
        Channel::Confirm(_) => ("confirm", reported::parse(body).map(Said::Confirm)),
        Channel::Heartbeat(_) => ("heartbeat", reported::parse(body).map(|it| Said::Heartbeat(Box::new(it)))),
        Channel::Report(_) => {
            let run = header(AGENT_RUN_HEADER).and_then(|run| run.parse().ok());
            let report = |report| Said::Report { report: Box::new(report), id: header("Nats-Msg-Id"), run };
            ("report", reported::parse(body).map(report))
        }
        _ => return None,
    };
    // Only here, where the body is nobody's secret, it is shown.
    let text = String::from_utf8_lossy(body);
    Some(parsed.unwrap_or_else(|problem| Said::Invalid(format!("an invalid {kind} ({problem}): {text}"))))
}

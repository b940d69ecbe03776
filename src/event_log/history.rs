//! The adapter from the log to the port through which the read models read it: reads a range and ends, whereas the log's
//! readers wait for more.

use std::sync::Arc;

use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_projections::{History, LogEntry, Unreadable};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use super::{Delivery, EventLog, Filter};
use crate::common::error::Cause;

/// The stored part of a log.
pub struct LogHistory(pub Arc<dyn EventLog>);

enum Next {
    Entry(LogEntry),
    End,
}

impl LogHistory {
    /// The entries with `after < sequence <= to`.
    #[must_use]
    pub fn range(&self, filter: Filter, after: u64, to: u64) -> BoxStream<'static, Result<LogEntry, Cause>> {
        let entries = self.0.follow(after, filter).map(move |delivery| match delivery {
            Delivery::Event(recorded) if recorded.sequence <= to => Some(Next::Entry(LogEntry::Event(recorded))),
            Delivery::Unreadable { sequence, subject, why } if sequence <= to => {
                Some(Next::Entry(LogEntry::Unreadable(Unreadable::new(subject, sequence, &why))))
            }
            // Beyond the range, or at the log's end.
            Delivery::Event(_) | Delivery::Unreadable { .. } | Delivery::CaughtUp => Some(Next::End),
            Delivery::Barrier(_) | Delivery::Idle => None,
        });
        entries
            .filter_map(std::future::ready)
            .take_while(|next| std::future::ready(!matches!(next, Next::End)))
            .filter_map(|next| std::future::ready(if let Next::Entry(entry) = next { Some(Ok(entry)) } else { None }))
            .boxed()
    }
}

impl History for LogHistory {
    fn incarnation(&self) -> Incarnation {
        self.0.incarnation().clone()
    }

    fn end(&self) -> BoxFuture<'_, Result<u64, Cause>> {
        async { Ok(self.0.end(Filter::All).await?) }.boxed()
    }

    fn read_all(&self, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.range(Filter::All, after, to)
    }

    fn read(&self, kind: &'static str, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.range(Filter::Kind(kind), after, to)
    }

    fn read_one(&self, aggregate: AggregateId, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.range(Filter::One(aggregate), after, to)
    }
}

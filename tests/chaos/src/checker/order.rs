//! What the history tells about the time of the log: which sequence was stored for certain when a request was sent, and
//! which one may have been stored when its response came.

use super::log::Log;
use crate::history::{Operation, OutcomeClass};

/// Bounds of the log's end, by the clients' clock in milliseconds.
#[derive(Debug)]
pub struct Order {
    /// The start of each request that stored events, with the lowest sequence of its own and of all later ones; ascending.
    starts: Vec<(u64, u64)>,
    end: u64,
}

impl Order {
    #[must_use]
    pub fn of(history: &[Operation], log: &Log) -> Self {
        let first = |operation: &Operation| log.caused_by(&operation.request).map(super::log::Logged::sequence).min();
        let mut starts: Vec<(u64, u64)> =
            history.iter().filter_map(|operation| Some((operation.begun.ms, first(operation)?))).collect();
        starts.sort_unstable();
        let mut lowest = u64::MAX;
        for (_, sequence) in starts.iter_mut().rev() {
            lowest = lowest.min(*sequence);
            *sequence = lowest;
        }
        Self { starts, end: log.end() }
    }

    /// The highest sequence that may have been stored at `ms`: what later requests stored came after it.
    #[must_use]
    pub fn possible_at(&self, ms: u64) -> u64 {
        let later = self.starts.partition_point(|(begun, _)| *begun <= ms);
        self.starts.get(later).map_or(self.end, |(_, lowest)| (lowest - 1).min(self.end))
    }
}

/// The events that a response makes known: its own, and its position.
#[must_use]
pub(super) fn made_known(operation: &Operation, log: &Log) -> u64 {
    if operation.class() != OutcomeClass::Done {
        return 0;
    }
    let own = log.caused_by(&operation.request).map(super::log::Logged::sequence).max();
    own.into_iter().chain(operation.response_position()).max().unwrap_or(0)
}

//! What makes the log grow: its events by day and by kind, in one read with bounded memory.

use std::collections::BTreeMap;

use dockhost_domain::envelope::header;
use dockhost_domain::subject::BARRIER;
use dockhost_domain::timestamp::Timestamp;
use serde::Serialize;

use super::raw::RawEvent;

/// Kinds that are counted apart; this program knows far fewer. Events of further kinds count as [`OTHER_KIND`].
const MAX_KINDS: usize = 200;
/// The kind of barriers, which are no events.
const BARRIER_KIND: &str = "barrier";
/// The kind of events without a type, and of those beyond [`MAX_KINDS`].
const OTHER_KIND: &str = "other";
const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1000;
/// What the broker stores beside subject, headers and body: a record's header and checksum, and the headers' length.
const RECORD_OVERHEAD: usize = 22 + 8 + 4;
/// The first line of the headers and the empty line after them.
const HEADERS_OVERHEAD: usize = "NATS/1.0\r\n\r\n".len();
/// What a header takes beside its name and value.
const HEADER_OVERHEAD: usize = ": \r\n".len();

/// A number of events and the bytes that they take in the broker's store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// The events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.events += 1;
        self.bytes += bytes;
    }
}

/// The events by day and by kind.
#[derive(Debug, Default)]
pub struct Growth {
    by_day: BTreeMap<i64, Tally>,
    by_kind: BTreeMap<String, Tally>,
}

impl Growth {
    /// Counts an event.
    pub fn add(&mut self, event: &RawEvent) {
        let bytes = stored_bytes(event);
        self.by_day.entry(day(event)).or_default().add(bytes);
        let kind = match event.headers.get(header::TYPE) {
            Some(kind) => kind.as_str(),
            None if event.subject == BARRIER => BARRIER_KIND,
            None => OTHER_KIND,
        };
        let is_counted_apart = self.by_kind.len() < MAX_KINDS || self.by_kind.contains_key(kind);
        let kind = if is_counted_apart { kind } else { OTHER_KIND };
        if let Some(tally) = self.by_kind.get_mut(kind) {
            tally.add(bytes);
        } else {
            self.by_kind.entry(kind.to_owned()).or_default().add(bytes);
        }
    }

    /// The last `count` days with events, as `2026-11-25`, the oldest first.
    #[must_use]
    pub fn last_days(&self, count: usize) -> Vec<(String, Tally)> {
        let newest = self.by_day.iter().rev().take(count);
        let mut days: Vec<_> = newest.map(|(day, tally)| (date(*day), *tally)).collect();
        days.reverse();
        days
    }

    /// The kinds, the one with the most bytes first.
    #[must_use]
    pub fn kinds(&self) -> Vec<(&str, Tally)> {
        let mut kinds: Vec<_> = self.by_kind.iter().map(|(kind, tally)| (kind.as_str(), *tally)).collect();
        kinds.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.bytes));
        kinds
    }

    /// Bytes per day over the last `days` days of the log, days without events included; `None` if the log is younger
    /// than a day.
    #[must_use]
    pub fn daily_bytes(&self, days: i64) -> Option<u64> {
        let (first, last) = (*self.by_day.keys().next()?, *self.by_day.keys().next_back()?);
        let span = days.min(last - first);
        // The last day is not over.
        let recent = self.by_day.range(last - span..last).map(|(_, tally)| tally.bytes).sum::<u64>();
        recent.checked_div(u64::try_from(span).ok()?)
    }
}

/// The bytes that the broker's store needs for an event.
fn stored_bytes(event: &RawEvent) -> u64 {
    let header = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
        let name: &str = name.as_ref();
        values.iter().map(|value| name.len() + value.as_str().len() + HEADER_OVERHEAD).sum::<usize>()
    };
    let headers = HEADERS_OVERHEAD + event.headers.iter().map(header).sum::<usize>();
    (RECORD_OVERHEAD + event.subject.len() + headers + event.body.len()) as u64
}

/// The day of an event in days since 1970: by its own time, or else by the broker's.
fn day(event: &RawEvent) -> i64 {
    let own = event.headers.get(header::TIME).and_then(|time| time.as_str().parse::<Timestamp>().ok());
    let millis = own.map(Timestamp::millis);
    let millis = millis.unwrap_or_else(|| i64::try_from(event.nanos / 1_000_000).unwrap_or_default());
    millis.div_euclid(MILLIS_PER_DAY)
}

fn date(day: i64) -> String {
    let text = Timestamp::from_millis(day.saturating_mul(MILLIS_PER_DAY)).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;

    fn event(time: &str, kind: &str, body: &str) -> RawEvent {
        let mut headers = HeaderMap::new();
        headers.insert(header::TIME, time);
        headers.insert(header::TYPE, kind);
        RawEvent { sequence: 1, subject: "s".to_owned(), nanos: 0, headers, body: body.to_owned().into() }
    }

    #[test]
    fn growth_counts_by_day_and_kind() {
        let mut growth = Growth::default();
        growth.add(&event("2026-11-20T23:59:59.999Z", "one", ""));
        growth.add(&event("2026-11-22T00:00:00.000Z", "one", ""));
        growth.add(&event("2026-11-22T12:00:00.000Z", "two", &"x".repeat(500)));
        growth.add(&event("2026-11-23T12:00:00.000Z", "one", ""));
        let days: Vec<_> = growth.last_days(2).into_iter().map(|(day, tally)| (day, tally.events)).collect();
        assert_eq!(days, [("2026-11-22".to_owned(), 2), ("2026-11-23".to_owned(), 1)]);
        let kinds: Vec<_> = growth.kinds().into_iter().map(|(kind, tally)| (kind, tally.events)).collect();
        assert_eq!(kinds, [("two", 1), ("one", 3)]);
        let small = stored_bytes(&event("2026-11-20T23:59:59.999Z", "one", ""));
        assert_eq!(growth.daily_bytes(7), Some((3 * small + 500) / 3), "the last day is not over");
        assert_eq!(growth.daily_bytes(1), Some(2 * small + 500));
    }

    #[test]
    fn growth_of_a_young_log_has_no_rate() {
        let mut growth = Growth::default();
        assert_eq!(growth.daily_bytes(7), None);
        growth.add(&event("2026-11-20T23:59:59.999Z", "one", ""));
        assert_eq!(growth.daily_bytes(7), None);
    }

    #[test]
    fn growth_kinds_are_bounded() {
        let mut growth = Growth::default();
        for number in 0..2 * MAX_KINDS {
            growth.add(&event("2026-11-20T23:59:59.999Z", &format!("kind-{number}"), ""));
        }
        let kinds = growth.kinds();
        assert!(kinds.len() <= MAX_KINDS + 1);
        assert_eq!(kinds.iter().map(|(_, tally)| tally.events).sum::<u64>(), 2 * MAX_KINDS as u64);
    }
}

//! The charts of the last hour or day.

use askama::Template;
use serde::Deserialize;

use super::Chip;
use crate::moment::Moment;

/// What the API answers: lists with one number for each time, in which null is what is not known.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// How far they go back.
    pub range: Range,
    /// Seconds between two times.
    pub step_seconds: u64,
    /// When the server that answers started.
    pub started_at: Moment,
    /// The times, in seconds since 1970.
    pub times: Vec<i64>,
    /// Of the whole installation.
    pub installation: Installation,
    /// Of the server that answers.
    pub replica: Replica,
}

/// How far figures go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// An hour.
    Hour,
    /// A day.
    Day,
}

/// Figures of the whole installation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installation {
    /// Instances created.
    pub creates_per_minute: Vec<Option<f64>>,
    /// Instances stopped.
    pub stops_per_minute: Vec<Option<f64>>,
    /// Instances deleted.
    pub deletes_per_minute: Vec<Option<f64>>,
    /// Instances that run.
    pub running: Vec<Option<f64>>,
    /// Machines that send heartbeats.
    pub machines: Vec<Option<f64>>,
    /// How far the lists are behind the log.
    pub lag_seconds: Vec<Option<f64>>,
}

/// Figures of one server.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// Requests answered.
    pub requests_per_second: Vec<Option<f64>>,
    /// The duration within which half of them were answered.
    pub p50_seconds: Vec<Option<f64>>,
    /// The duration within which 99 % of them were answered.
    pub p99_seconds: Vec<Option<f64>>,
    /// Its memory.
    pub memory_bytes: Vec<Option<f64>>,
}

impl Range {
    const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Hour => "Last hour",
            Self::Day => "Last day",
        }
    }
}

/// A chart.
#[derive(Debug)]
struct Chart {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    /// Whose figures they are.
    of: &'static str,
    lines: Vec<Line>,
}

/// A line of a chart.
#[derive(Debug)]
struct Line {
    name: &'static str,
    /// The token of its colour.
    tone: &'static str,
    values: Vec<Option<f64>>,
}

const ALL_SERVERS: &str = "whole installation";
const THIS_SERVER: &str = "this server";

impl Line {
    fn new(name: &'static str, tone: &'static str, values: &[Option<f64>]) -> Self {
        Self { name, tone, values: values.to_vec() }
    }

    /// In another unit: each value times this.
    fn times(self, factor: f64) -> Self {
        let values = self.values.iter().map(|value| value.map(|value| (value * factor * 1e3).round() / 1e3));
        Self { values: values.collect(), ..self }
    }

    fn known(&self) -> impl Iterator<Item = f64> {
        self.values.iter().copied().flatten()
    }

    fn now(&self) -> String {
        shown(self.values.last().copied().flatten())
    }

    fn lowest(&self) -> String {
        shown(self.known().reduce(f64::min))
    }

    fn highest(&self) -> String {
        shown(self.known().reduce(f64::max))
    }
}

/// A number as people read it: with one decimal below 10.
fn shown(value: Option<f64>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    let text = if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

impl Chart {
    /// The values of all lines, as the script reads them.
    fn values(&self) -> String {
        let lines: Vec<_> = self.lines.iter().map(|line| &line.values).collect();
        serde_json::to_string(&lines).unwrap_or_default()
    }

    fn names(&self) -> String {
        self.lines.iter().map(|line| line.name).collect::<Vec<_>>().join("|")
    }

    fn tones(&self) -> String {
        self.lines.iter().map(|line| line.tone).collect::<Vec<_>>().join("|")
    }

    /// What is drawn, in words.
    fn in_words(&self) -> String {
        let line = |line: &Line| {
            format!("{} now {}, lowest {}, highest {}", line.name, line.now(), line.lowest(), line.highest())
        };
        let lines: Vec<_> = self.lines.iter().map(line).collect();
        let what = if self.unit.is_empty() { self.title.to_owned() } else { format!("{}, {}", self.title, self.unit) };
        format!("{what}: {}", lines.join("; "))
    }
}

/// The charts.
#[derive(Debug, Template)]
#[template(path = "admin/parts/charts.html")]
pub struct Charts {
    /// What they show.
    pub figures: Figures,
}

impl Charts {
    /// A line needs two points.
    fn has_lines(&self) -> bool {
        self.figures.times.len() > 1
    }

    /// How long it takes from the start of a server to the second point.
    fn first_after(&self) -> String {
        match self.figures.step_seconds * 2 {
            seconds if seconds < 60 => format!("{seconds} seconds"),
            seconds => format!("{} minutes", seconds / 60),
        }
    }

    /// What can be shown.
    fn chips(&self) -> [Chip; 2] {
        [Range::Hour, Range::Day].map(|range| Chip {
            name: range.title(),
            address: format!("/admin?range={}", range.name()),
            is_chosen: range == self.figures.range,
        })
    }

    fn times(&self) -> String {
        serde_json::to_string(&self.figures.times).unwrap_or_default()
    }

    fn charts(&self) -> Vec<Chart> {
        let Figures { installation, replica, .. } = &self.figures;
        let of_all = |id, title, unit, lines| Chart { id, title, unit, of: ALL_SERVERS, lines };
        let of_one = |id, title, unit, lines| Chart { id, title, unit, of: THIS_SERVER, lines };
        vec![
            of_all(
                "operations",
                "Operations on instances",
                "per minute",
                vec![
                    Line::new("created", "good", &installation.creates_per_minute),
                    Line::new("stopped", "busy", &installation.stops_per_minute),
                    Line::new("deleted", "bad", &installation.deletes_per_minute),
                ],
            ),
            of_all("running", "Running instances", "", vec![Line::new("running", "primary", &installation.running)]),
            of_all("machines", "Machines", "", vec![Line::new("connected", "primary", &installation.machines)]),
            of_one(
                "requests",
                "Requests",
                "per second",
                vec![Line::new("answered", "primary", &replica.requests_per_second)],
            ),
            of_one(
                "durations",
                "Time to answer",
                "ms",
                vec![
                    Line::new("p50", "primary", &replica.p50_seconds).times(1e3),
                    Line::new("p99", "warn", &replica.p99_seconds).times(1e3),
                ],
            ),
            of_all("lag", "Behind the log", "s", vec![Line::new("oldest event", "primary", &installation.lag_seconds)]),
            of_one(
                "memory",
                "Memory",
                "MiB",
                vec![Line::new("used", "primary", &replica.memory_bytes).times(1.0 / 1_048_576.0)],
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn charts(times: &[i64]) -> Charts {
        let list = |value: f64| vec![Some(value); times.len()];
        let figures = json!({
            "range": "hour", "stepSeconds": 10, "startedAt": "2026-11-24T08:00:15.000Z", "times": times,
            "installation": {
                "createsPerMinute": list(6.0), "stopsPerMinute": list(0.2), "deletesPerMinute": list(0.0),
                "running": vec![None::<f64>; times.len()], "machines": list(3.0), "lagSeconds": list(12.6),
            },
            "replica": {
                "requestsPerSecond": list(41.7), "p50Seconds": list(0.0021), "p99Seconds": list(0.3),
                "memoryBytes": list(52_428_800.0),
            },
        });
        Charts { figures: serde_json::from_value(figures).unwrap() }
    }

    #[test]
    fn charts_say_in_words_what_they_draw() {
        let words: Vec<_> = charts(&[10, 20]).charts().iter().map(Chart::in_words).collect();
        let expected = [
            "Operations on instances, per minute: created now 6, lowest 6, highest 6; \
             stopped now 0.2, lowest 0.2, highest 0.2; deleted now 0, lowest 0, highest 0",
            "Running instances: running now –, lowest –, highest –",
            "Machines: connected now 3, lowest 3, highest 3",
            "Requests, per second: answered now 42, lowest 42, highest 42",
            "Time to answer, ms: p50 now 2.1, lowest 2.1, highest 2.1; p99 now 300, lowest 300, highest 300",
            "Behind the log, s: oldest event now 13, lowest 13, highest 13",
            "Memory, MiB: used now 50, lowest 50, highest 50",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn charts_give_the_script_the_numbers_of_each_line() {
        let html = charts(&[10, 20]).render().unwrap();
        for expected in [
            r#"data-times="[10,20]""#,
            r#"data-values="[[6.0,6.0],[0.2,0.2],[0.0,0.0]]""#,
            r#"data-values="[[null,null]]""#,
            r#"data-names="created|stopped|deleted" data-tones="good|busy|bad""#,
            r#"hx-get="/admin/parts/charts?range=hour" hx-trigger="every 10s""#,
        ] {
            assert!(html.contains(expected), "{expected}: {html}");
        }
        assert_eq!(html.matches(">whole installation<").count(), 4);
        assert_eq!(html.matches(">this server<").count(), 3);
        assert!(html.contains(r#"<a href="/admin?range=hour" aria-current="true">Last hour</a>"#), "{html}");
    }

    #[test]
    fn charts_of_a_server_that_has_just_started_say_when_there_will_be_some() {
        let html = charts(&[10]).render().unwrap();
        assert!(html.contains("No figures yet") && html.contains("20 seconds"), "{html}");
        assert!(!html.contains("data-values"), "{html}");
    }
}

//! How far a long command is, on standard error.
//!
//! In: what is done of how much, as often as one likes. Out: on a terminal a bar with rate and time left; elsewhere (a
//! file, a service's log) a plain line every few seconds, so that it tells the same without flooding.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

/// Between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
const TEMPLATE: &str = "{prefix} [{bar:30}] {human_pos} of {human_len}, {per_sec}, {eta} left";

/// The progress of one task.
#[derive(Debug)]
pub struct ProgressReporter(Output);

#[derive(Debug)]
enum Output {
    Terminal(ProgressBar),
    PlainLines(PlainLines),
}

#[derive(Debug)]
struct PlainLines {
    what: String,
    total: u64,
    /// What was done before this run, which says nothing of its speed.
    from: u64,
    done: u64,
    began: Instant,
    last_line: Option<Instant>,
}

impl ProgressReporter {
    /// Nothing is done yet of `total`. `what` is the task's name, as the line begins.
    pub fn new(what: impl Into<String>, total: u64) -> Self {
        Self::resumed(what, 0, total)
    }

    /// `from` of `total` was done by an earlier run.
    pub fn resumed(what: impl Into<String>, from: u64, total: u64) -> Self {
        let what = what.into();
        if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_prefix(what);
            bar.set_position(from);
            bar.reset_eta();
            return Self(Output::Terminal(bar));
        }
        let began = Instant::now();
        Self(Output::PlainLines(PlainLines { what, total, from, done: from, began, last_line: None }))
    }

    /// There is more to do than was thought, or less.
    pub fn set_total(&mut self, total: u64) {
        match &mut self.0 {
            Output::Terminal(bar) => bar.set_length(total),
            Output::PlainLines(plain) => plain.total = total,
        }
    }

    /// So much is done, counted from the very beginning.
    pub fn set_position(&mut self, done: u64) {
        match &mut self.0 {
            Output::Terminal(bar) => bar.set_position(done),
            Output::PlainLines(plain) => {
                plain.done = done;
                if plain.last_line.unwrap_or(plain.began).elapsed() >= LINE_INTERVAL {
                    plain.last_line = Some(Instant::now());
                    eprintln!("{}", plain.line(plain.began.elapsed()));
                }
            }
        }
    }

    /// All is done. A bar that is dropped without this stays where it was.
    pub fn finish(self) {
        match self.0 {
            Output::Terminal(bar) => bar.finish(),
            // What took no time was not waited for.
            Output::PlainLines(plain) if plain.last_line.is_none() => {}
            Output::PlainLines(mut plain) => {
                plain.done = plain.total;
                eprintln!("{}", plain.line(plain.began.elapsed()));
            }
        }
    }
}

/// A bar that begins where the first call says that the task stands, and ends at its total.
pub fn reporter(what: &'static str) -> impl FnMut(u64, u64) + Send {
    let mut shown: Option<ProgressReporter> = None;
    move |done, total| {
        let mut bar = shown.take().unwrap_or_else(|| ProgressReporter::resumed(what, done, total));
        bar.set_total(total);
        bar.set_position(done);
        if done < total {
            shown = Some(bar);
        } else {
            bar.finish();
        }
    }
}

impl PlainLines {
    fn line(&self, elapsed: Duration) -> String {
        let Self { what, total, from, done, .. } = self;
        let rate = done.saturating_sub(*from) as f64 / elapsed.as_secs_f64().max(0.001);
        let left = total.saturating_sub(*done);
        let time = match left {
            0 => "done".to_owned(),
            _ if rate > 0.0 => {
                let seconds = (left as f64 / rate).min(f64::from(u32::MAX));
                format!("{} left", HumanDuration(Duration::from_secs_f64(seconds)))
            }
            _ => "time left unknown".to_owned(),
        };
        format!("{what}: {} of {}, {}/s, {time}", HumanCount(*done), HumanCount(*total), HumanCount(rate as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(from: u64, done: u64, total: u64, seconds: u64) -> String {
        let plain = PlainLines { what: "export".to_owned(), total, from, done, began: Instant::now(), last_line: None };
        plain.line(Duration::from_secs(seconds))
    }

    #[test]
    fn a_line_has_rate_and_time_left() {
        assert_eq!(line(0, 20_000, 80_000, 10), "export: 20,000 of 80,000, 2,000/s, 30 seconds left");
    }

    #[test]
    fn what_an_earlier_run_did_is_not_this_ones_speed() {
        assert_eq!(line(70_000, 75_000, 80_000, 10), "export: 75,000 of 80,000, 500/s, 10 seconds left");
    }

    #[test]
    fn nothing_done_promises_nothing_and_all_done_says_so() {
        assert_eq!(line(0, 0, 80_000, 10), "export: 0 of 80,000, 0/s, time left unknown");
        assert_eq!(line(0, 80_000, 80_000, 40), "export: 80,000 of 80,000, 2,000/s, done");
        assert_eq!(line(0, 0, 0, 0), "export: 0 of 0, 0/s, done");
    }
}

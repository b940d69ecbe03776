//! Reports the progress of a long command on standard error: a bar on a terminal, elsewhere a line every few seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

const LINE_INTERVAL: Duration = Duration::from_secs(5);
const TEMPLATE: &str = "{prefix} [{bar:30}] {human_pos} of {human_len}, {per_sec}, {eta} left";

/// Shows the progress of one task at a time.
#[derive(Debug, Default)]
pub struct ProgressReporter(Option<Task>);

#[derive(Debug)]
struct Task {
    name: &'static str,
    /// Measures the rate, and draws itself on a terminal.
    bar: ProgressBar,
    /// When the task began, or the last line was printed; `None` on a terminal.
    last_line: Option<Instant>,
    printed: bool,
}

impl ProgressReporter {
    /// A task has done so many of its steps. A task that wasn't the last one reported begins here: steps that were done
    /// before don't count for its rate.
    pub fn report(&mut self, task: &'static str, done: u64, total: u64) {
        if self.0.as_ref().is_some_and(|current| current.name != task) {
            self.finish();
        }
        self.0.get_or_insert_with(|| Task::start(task, done, total)).update(done, total);
    }

    /// The last task is complete. Prints a line for it only if it printed one before.
    pub fn finish(&mut self) {
        if let Some(task) = self.0.take() {
            task.bar.finish();
            if task.printed {
                eprintln!("{}", line(&task.bar));
            }
        }
    }
}

impl Task {
    fn start(name: &'static str, done: u64, total: u64) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let target = if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let last_line = (!on_terminal).then(Instant::now);
        Self { name, bar: bar(name, done, total, target), last_line, printed: false }
    }

    fn update(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if self.last_line.is_some_and(|last| last.elapsed() >= LINE_INTERVAL) {
            eprintln!("{}", line(&self.bar));
            (self.last_line, self.printed) = (Some(Instant::now()), true);
        }
    }
}

/// Reports one task; it is complete when `done` reaches `total`.
pub fn callback(task: &'static str) -> impl FnMut(u64, u64) + Send {
    let mut reporter = ProgressReporter::default();
    move |done, total| {
        reporter.report(task, done, total);
        if done >= total {
            reporter.finish();
        }
    }
}

fn bar(task: &'static str, done: u64, total: u64, target: ProgressDrawTarget) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style.progress_chars("=> "));
    let bar = bar.with_prefix(task).with_position(done);
    bar.reset_eta();
    bar
}

fn line(bar: &ProgressBar) -> String {
    let (done, total, rate) = (bar.position(), bar.length().unwrap_or_default(), bar.per_sec());
    let left = match done < total {
        false => "done".to_owned(),
        true if rate > 0.0 => format!("{} left", HumanDuration(bar.eta())),
        true => "time left unknown".to_owned(),
    };
    format!("{}: {} of {}, {}/s, {left}", bar.prefix(), HumanCount(done), HumanCount(total), HumanCount(rate as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_unstarted_and_finished_tasks_promise_no_time() {
        let bar = bar("export", 70_000, 80_000, ProgressDrawTarget::hidden());
        assert_eq!(line(&bar), "export: 70,000 of 80,000, 0/s, time left unknown");
        bar.set_position(80_000);
        let finished = line(&bar);
        assert!(finished.starts_with("export: 80,000 of 80,000, ") && finished.ends_with("/s, done"), "{finished}");
    }

    #[test]
    fn line_running_task_has_rate_and_time_left() {
        let bar = bar("export", 0, 80_000, ProgressDrawTarget::hidden());
        std::thread::sleep(Duration::from_millis(20));
        bar.set_position(10_000);
        bar.tick();
        let running = line(&bar);
        assert!(running.starts_with("export: 10,000 of 80,000, ") && running.ends_with(" left"), "{running}");
    }
}

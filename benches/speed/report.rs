//! The results: a table on the terminal, and in `docs/PERFORMANCE.md` the latest table and one more line of history.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use dockhost::common::clock;

const BEGIN: &str = "<!-- latest: begin -->";
const END: &str = "<!-- latest: end -->";
const HISTORY_END: &str = "<!-- history: end -->";

/// The target of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Figure {
    pub row: &'static str,
    pub what: String,
    pub ours: String,
    /// The raw limit that it is compared with.
    pub raw: Option<String>,
    /// The judged value and its target; none for a figure without a target.
    pub judged: Option<(f64, Target)>,
}

impl Figure {
    pub fn new(row: &'static str, what: impl Into<String>, ours: impl Into<String>) -> Self {
        Self { row, what: what.into(), ours: ours.into(), raw: None, judged: None }
    }

    pub fn with_raw_limit(self, raw: impl Into<String>) -> Self {
        Self { raw: Some(raw.into()), ..self }
    }

    pub fn judged(self, value: f64, target: Target) -> Self {
        Self { judged: Some((value, target)), ..self }
    }

    fn cells(&self) -> [String; 6] {
        let (value, target, word) = match self.judged {
            None => (String::new(), String::new(), ""),
            Some((value, Target::AtLeast(least))) => {
                (short(value), format!("≥ {}", short(least)), if value >= least { "yes" } else { "**no**" })
            }
            Some((value, Target::AtMost(most))) => {
                (short(value), format!("≤ {}", short(most)), if value <= most { "yes" } else { "**no**" })
            }
        };
        let what = format!("{}: {}", self.row, self.what);
        [what, self.ours.clone(), self.raw.clone().unwrap_or_default(), value, target, word.to_owned()]
    }
}

const HEAD: [&str; 6] = ["what", "DockHost", "raw limit", "judged", "target", "met"];

/// A value with about three significant digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn table(figures: &[Figure]) -> String {
    let rows: Vec<[String; 6]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(figures.iter().map(Figure::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            for width in &widths {
                let _ = write!(text, "|-{:-<width$}-", "");
            }
            text.push_str("|\n");
        }
    }
    text
}

pub fn print(figures: &[Figure]) {
    print!("{}", table(figures));
}

/// Writes the table and a line of history into the document.
pub fn write(figures: &[Figure]) -> std::io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PERFORMANCE.md");
    let text = std::fs::read_to_string(&path)?;
    let (Some(begin), Some(end), Some(history)) = (text.find(BEGIN), text.find(END), text.find(HISTORY_END)) else {
        return Err(std::io::Error::other("docs/PERFORMANCE.md lacks a marker comment"));
    };
    let day = clock::now().to_string();
    let day = day.get(..10).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let heading = format!("Measured on {day}, {cores} processors, at commit {}.\n\n", commit());
    let judged = figures.iter().filter_map(|figure| {
        let (value, _) = figure.judged?;
        Some(format!("{}: {} {}", figure.row, figure.what, short(value)))
    });
    let line = format!("| {day} | {} | {cores} | {} |\n", commit(), judged.collect::<Vec<_>>().join("; "));
    let mut new = String::with_capacity(text.len());
    new.push_str(&text[..begin + BEGIN.len()]);
    new.push_str("\n\n");
    new.push_str(&heading);
    new.push_str(&table(figures));
    new.push('\n');
    new.push_str(&text[end..history]);
    new.push_str(&line);
    new.push_str(&text[history..]);
    std::fs::write(path, new)
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let known = output.ok().filter(|output| output.status.success());
    known.map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

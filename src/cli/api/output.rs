//! Prints what the API answers: tables for people, JSON for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde_json::Value;

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// As the API has it.
    Json,
}

/// Prints items; a column is a heading and the JSON pointer of its value.
pub fn list(output: Output, items: &[Value], columns: &[(&str, &str)]) -> anyhow::Result<()> {
    match output {
        Output::Json => json(&items),
        Output::Table => {
            let rows =
                items.iter().map(|item| columns.iter().map(|(_, pointer)| cell(item.pointer(pointer))).collect());
            print(Some(columns.iter().map(|(heading, _)| (*heading).to_owned()).collect()), rows)
        }
    }
}

/// Prints one thing, a row for each member.
pub fn one(output: Output, item: &Value) -> anyhow::Result<()> {
    match (output, item) {
        (Output::Table, Value::Object(members)) => {
            print(None, members.iter().map(|(name, value)| vec![name.clone(), cell(Some(value))]))
        }
        _ => json(item),
    }
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    Ok(writeln!(out)?)
}

fn print(heading: Option<Vec<String>>, rows: impl Iterator<Item = Vec<String>>) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(heading) = heading {
        table.set_header(heading);
    }
    rows.for_each(|row| {
        table.add_row(row);
    });
    Ok(writeln!(io::stdout().lock(), "{}", table.trim_fmt())?)
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(Value::Number(number)) if number.is_f64() => format!("{:.2}", number.as_f64().unwrap_or_default()),
        Some(other) => plain(&other.to_string()),
    }
}

/// The text without what a terminal would act on: people and machines choose some of these texts.
pub fn plain(text: &str) -> String {
    let is_direction =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| !c.is_control() && !is_direction(*c)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cell_has_nothing_that_a_terminal_acts_on() {
        assert_eq!(cell(Some(&json!("lab\u{1b}[31m 1\u{202e}\n"))), "lab[31m 1");
        assert_eq!(cell(Some(&json!({ "state": "ready\u{7}" }))), r#"{"state":"ready\u0007"}"#);
        assert_eq!(cell(Some(&json!(0.041_714_8))), "0.04");
        assert_eq!((cell(None), cell(Some(&Value::Null)), cell(Some(&json!(7)))), ("-".into(), "-".into(), "7".into()));
    }
}

//! The structure of the project: the dependencies between crates and modules, and that pages, configuration and schemas
//! match the code. These tests read files and `cargo metadata`; they need no server.

mod api;
mod clocks;
mod commands;
pub mod compose;
mod crates;
mod deploy;
mod environment;
mod glossary;
mod links;
mod metrics;
mod modules;
mod schemas;
mod security;
mod streams;
mod testing;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The root folder of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file; the path is relative to the root.
fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder whose names end with `end`, relative to the root.
fn files(below: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(end) {
                found.push(entry.path().strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "there is no file *{end} below {below}");
    found
}

/// What cargo prints with these arguments.
fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let command = [arguments, &["--offline", "--locked"]].concat();
    let output = Command::new(program).current_dir(root()).args(command).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What cargo knows of the workspace and its dependencies.
fn cargo_metadata() -> Value {
    let metadata = cargo(&["metadata", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"]);
    serde_json::from_str(&metadata).unwrap()
}

/// All pages of documentation.
fn pages() -> Vec<PathBuf> {
    let mut pages = files("docs", ".md");
    pages.extend(files("images", ".md"));
    pages.extend(files("deploy", ".md"));
    pages.extend(["README.md", "CONTRIBUTING.md"].map(PathBuf::from));
    pages
}

/// Every part of the text between `open` and `close`.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split_once(close).map(|(inside, _)| inside)).collect()
}

/// The words that a page formats as code, without code blocks.
fn code_words(page: &str) -> Vec<&str> {
    page.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

/// A sorted set of strings.
fn set<I: IntoIterator<Item: Into<String>>>(items: I) -> BTreeSet<String> {
    items.into_iter().map(Into::into).collect()
}

/// Fails unless both sets are equal and not empty; names the differences.
fn assert_same(left: (&str, BTreeSet<String>), right: (&str, BTreeSet<String>)) {
    let ((left_name, left), (right_name, right)) = (left, right);
    let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
    let (more, less) = (only(&left, &right), only(&right, &left));
    assert!(more.is_empty() && less.is_empty(), "only in {left_name}: {more:?}; only in {right_name}: {less:?}");
    assert!(!left.is_empty(), "{left_name} and {right_name} are empty");
}

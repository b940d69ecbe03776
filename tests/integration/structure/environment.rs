//! `.env.example` names exactly the variables that the programs and the broker's configuration read.

use std::collections::BTreeSet;

use super::{assert_same, between, code_words, files, set, text};

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The variables of `.env.example`, including those in comments.
pub(super) fn explained() -> BTreeSet<String> {
    assigned_in(&text(".env.example"))
}

/// The variables in the section of `.env.example` whose title begins like this.
pub(super) fn in_section(title: &str) -> BTreeSet<String> {
    let example = text(".env.example");
    let sections: Vec<&str> = example.split("\n# ---- ").filter(|section| section.starts_with(title)).collect();
    assert_eq!(sections.len(), 1, "the sections {title}… of .env.example");
    assigned_in(sections[0])
}

/// The names before `=` in lines, also in commented ones.
fn assigned_in(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.trim_start_matches('#').split_once('=')).map(|(name, _)| name);
    set(names.filter(|name| is_name(name)))
}

/// The configuration files of the broker.
const OF_THE_BROKER: [&str; 2] = ["nats.conf", "nats-cluster.conf"];

/// The variables in configuration files of the broker.
pub(super) fn of_the_broker(files: &[&str]) -> BTreeSet<String> {
    let config = files.iter().map(text).collect::<String>();
    let lines = config.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = lines
        .flat_map(|line| line.split(|c: char| c.is_whitespace() || c == ','))
        .filter_map(|word| word.strip_prefix('$'));
    set(words.filter(|word| is_name(word)))
}

/// The variables in `docker-compose.yml`; some only its other services read.
fn of_compose() -> BTreeSet<String> {
    let text = text("docker-compose.yml");
    set(between(&text, "${", "}").into_iter().filter_map(|word| word.split(':').next()).filter(|word| is_name(word)))
}

/// The variables that the agent reads.
pub(super) fn of_the_agent() -> BTreeSet<String> {
    read_in(&["agent/src", "telemetry/src"])
}

/// The variables of the SDK of OpenTelemetry that `docs/OPERATIONS.md` names. Our code reads only some of them.
pub(super) fn of_opentelemetry() -> BTreeSet<String> {
    set(code_words(&text("docs/OPERATIONS.md")).into_iter().filter(|word| word.starts_with("OTEL_") && is_name(word)))
}

/// The variables that the code in these folders reads: as arguments, as secrets, or by hand.
fn read_in(folders: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in folders.iter().flat_map(|folder| files(folder, ".rs")) {
        let text = text(path);
        for marker in ["env = \"", "variable(\"", "secret(\""] {
            names.extend(between(&text, marker, "\"").into_iter().filter(|name| is_name(name)).map(str::to_owned));
        }
    }
    // Set by the system, not by the operator.
    names.remove("XDG_RUNTIME_DIR");
    names
}

#[test]
fn env_example_names_every_variable() {
    let read = read_in(&["src", "agent/src", "telemetry/src"]);
    let known: BTreeSet<String> = [read, of_the_broker(&OF_THE_BROKER), of_compose()].into_iter().flatten().collect();
    assert!(known.len() > 30, "the search missed variables: {known:?}");
    assert_same((".env.example", explained()), ("the programs and the broker's configurations", known));
}

#[test]
fn env_example_explains_every_variable() {
    let example = text(".env.example");
    let assigned = |line: &str| line.trim_start_matches('#').split_once('=').is_some_and(|(name, _)| is_name(name));
    let lines: Vec<&str> = example.lines().collect();
    for pair in lines.windows(2).filter(|pair| assigned(pair[1])) {
        // Some variables share a comment.
        assert!(pair[0].starts_with("# ") || assigned(pair[0]), "{} has no comment above it", pair[1]);
    }
}

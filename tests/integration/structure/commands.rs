//! The commands in `docs/OPERATIONS.md`: each block says which test runs it, or why none does.

use super::{root, text};

/// A block of commands, and the lines before it.
struct Block {
    marker: String,
    commands: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let lines: Vec<&str> = page.lines().map(str::trim).collect();
    let starts = (0..lines.len()).filter(|at| lines[*at] == "```sh" || lines[*at] == "```js");
    let block = |at: usize| {
        let commands: Vec<_> = lines[at + 1..].iter().take_while(|line| **line != "```").copied().collect();
        Block { marker: lines[at.saturating_sub(1)].to_owned(), commands: commands.join("\n") }
    };
    starts.map(block).collect()
}

/// The subcommands of `dockhost` in a block, each as its last word: the tests name it as a word of its own.
fn subcommands(commands: &str) -> Vec<String> {
    let words = |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let last = |line: &str| {
        let words = words(line.strip_prefix("dockhost ")?);
        let depth = match (words[0].as_str(), words.get(1).map(String::as_str)) {
            ("admin", Some("login" | "logout" | "usage" | "create" | "settings")) => 1,
            ("admin", _) => 2,
            ("quarantine" | "log", _) => 1,
            _ => 0,
        };
        words.get(depth).cloned()
    };
    commands.lines().filter_map(last).collect()
}

#[test]
fn operations_page_says_what_runs_its_commands() {
    let page = text("docs/OPERATIONS.md");
    let blocks = blocks(&page);
    assert!(blocks.len() >= 10, "the search missed blocks: {}", blocks.len());
    for Block { marker, commands } in blocks {
        let marker = marker.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        let marker = marker.unwrap_or_else(|| panic!("no comment says which test runs this:\n{commands}"));
        let named: Vec<&str> =
            marker.split([' ', ',', ';']).filter(|word| word.starts_with("tests/") && word.ends_with(".rs")).collect();
        for file in &named {
            assert!(root().join(file).is_file(), "{file} does not exist");
        }
        if marker.starts_with("not run by a test: ") {
            continue;
        }
        assert!(marker.starts_with("run by ") && !named.is_empty(), "{marker}");
        let tests: String = named.iter().map(text).collect();
        for subcommand in subcommands(&commands) {
            let quoted = [format!("\"{subcommand}\""), format!(" {subcommand} ")];
            // The walk of the README is a test, too.
            let readme = if marker.contains("readme.rs") { text("README.md") } else { String::new() };
            let is_run = quoted.iter().any(|word| tests.contains(word) || readme.contains(word));
            assert!(is_run, "{named:?} do not run `{subcommand}` of:\n{commands}");
        }
    }
}

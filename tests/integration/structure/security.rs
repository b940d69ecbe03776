//! `docs/SECURITY.md`: each attempt and each fault names the tests that show what bounds it.

use std::fmt::Write as _;

use super::{code_words, files, text};

/// The folders with tests.
const CODE: [&str; 7] = ["src", "tests", "domain", "projections", "agent", "gateway", "environment"];

#[test]
fn security_page_names_an_existing_test_in_each_row() {
    let mut code = String::new();
    for folder in CODE {
        for file in files(folder, ".rs") {
            write!(code, "{}", text(file)).unwrap();
        }
    }
    let is_defined = |name: &str| {
        let mut found =
            code.match_indices(name).map(|(at, _)| (code[..at].chars().last(), code[at + name.len()..].chars().next()));
        // A function, or a name in a list from which a macro makes functions.
        found.any(|(before, after)| before.is_some_and(char::is_whitespace) && matches!(after, Some('(' | ',' | '\n')))
    };
    let page = text("docs/SECURITY.md");
    let (_, tables) = page.split_once("## What each party can do at worst").unwrap();
    let rows: Vec<&str> = tables.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| Test |")).collect();
    assert!(!rows.is_empty());
    for row in rows {
        let tests = code_words(row.trim_end_matches(" |").rsplit(" | ").next().unwrap());
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            assert!(is_defined(test.rsplit("::").next().unwrap()), "there is no test {test}: {row}");
        }
    }
}

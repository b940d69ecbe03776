//! `docs/TESTING.md`: the tests that the page names exist.

use super::{code_words, files, text};

/// Folders with Rust code that may contain a test.
const CODE: [&str; 5] = ["agent/src", "domain/src", "projections/src", "src", "tests"];

fn is_test_name(word: &str) -> bool {
    word.matches('_').count() >= 3 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn testing_page_names_only_tests_that_exist() {
    let page = text("docs/TESTING.md");
    let names: Vec<&str> = code_words(&page).into_iter().filter(|word| is_test_name(word)).collect();
    assert!(!names.is_empty(), "the page names no test");
    let code: String = CODE.iter().flat_map(|folder| files(folder, ".rs")).map(text).collect();
    for name in names {
        assert!(code.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

//! `docs/GLOSSARY.md`: a bounded number of terms, each with a meaning and a place in the code.

use std::collections::BTreeSet;

use super::{code_words, root, text};

/// Terms that the page may hold; a longer list would not be learned.
const MAX_TERMS: usize = 30;

/// The cells of each row: term, meaning, where.
fn rows(page: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| term ")).map(cells).collect()
}

#[test]
fn glossary_has_at_most_30_terms_each_once() {
    let rows = rows(&text("docs/GLOSSARY.md"));
    assert!((1..=MAX_TERMS).contains(&rows.len()), "{} terms", rows.len());
    let terms: BTreeSet<&String> = rows.iter().filter_map(|row| row.first()).collect();
    assert_eq!(terms.len(), rows.len(), "a term is listed twice");
}

#[test]
fn glossary_term_has_one_sentence_and_existing_paths() {
    for row in rows(&text("docs/GLOSSARY.md")) {
        let [term, meaning, place] = &row[..] else { panic!("a row needs three cells: {row:?}") };
        assert!(meaning.ends_with('.') && !meaning.contains(". "), "{term}: not one sentence: {meaning}");
        let paths = code_words(place);
        assert!(!paths.is_empty(), "{term}: no path");
        for path in paths {
            assert!(root().join(path).is_file(), "{term}: there is no file {path}");
        }
    }
}

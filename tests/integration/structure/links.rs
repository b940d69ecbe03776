//! The links, paths and `make` targets in the pages exist.

use std::path::Path;

use super::{between, code_words, pages, root, text};

/// Top-level folders. A word in code format that begins with one of them is a path.
const TOP: [&str; 10] =
    ["src/", "domain/", "projections/", "agent/", "environment/", "tests/", "docs/", "images/", ".ci/", ".config/"];

fn is_path(word: &str) -> bool {
    TOP.iter().any(|top| word.starts_with(top)) && !word.contains(['<', '*', '{', ' ', '…'])
}

#[test]
fn pages_links_and_paths_exist() {
    let mut dead = Vec::new();
    for page in pages() {
        let text = text(&page);
        let folder = page.parent().unwrap_or(Path::new(""));
        for link in between(&text, "](", ")") {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !root().join(folder).join(target).exists() {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
        for path in code_words(&text).into_iter().filter(|word| is_path(word)) {
            if !root().join(path).exists() {
                dead.push(format!("{}: {path}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "these don't exist:\n{}", dead.join("\n"));
}

#[test]
fn pages_make_targets_exist() {
    let makefile = text("Makefile");
    for page in pages() {
        let text = text(&page);
        let code = text.split('`').skip(1).step_by(2);
        let commands = code.flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("make "));
        for target in commands.filter_map(|words| words.split_whitespace().next()) {
            assert!(makefile.contains(&format!("\n{target}:")), "{}: there is no `make {target}`", page.display());
        }
    }
}

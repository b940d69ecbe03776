//! What the pages point at is there.

use std::path::Path;

use super::{between, code_words, pages, root, text};

/// Folders at the top; what stands in a page in code letters and begins with one of them is a path.
const TOP: [&str; 9] = ["src/", "domain/", "projections/", "agent/", "tests/", "docs/", "images/", ".ci/", ".config/"];

fn is_path(word: &str) -> bool {
    TOP.iter().any(|top| word.starts_with(top)) && !word.contains(['<', '*', '{', ' ', '…'])
}

#[test]
fn every_link_and_path_leads_somewhere() {
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
    assert!(dead.is_empty(), "these lead nowhere:\n{}", dead.join("\n"));
}

#[test]
fn every_make_target_of_the_pages_is_there() {
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

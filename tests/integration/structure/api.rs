//! `docs/API.md` and `docs/EVENTS.md` against the code.

use std::collections::BTreeSet;

use dockhost::http::response::Code;
use dockhost::http::router;

use super::{assert_same, code_words, files, set, text};

/// The part of a page below this heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, below) = page.split_once(heading).unwrap_or_else(|| panic!("there is no {heading:?}"));
    below.split_once("\n## ").map_or(below, |(section, _)| section)
}

#[test]
fn every_error_code_is_explained_with_its_status() {
    let page = text("docs/API.md");
    let rows = section(&page, "## Error codes").lines().filter_map(|line| line.strip_prefix("| `"));
    let explained: BTreeSet<String> = rows
        .map(|row| {
            let (code, rest) = row.split_once("` | ").unwrap();
            format!("{code} {}", rest.split_once(" |").unwrap().0)
        })
        .collect();
    let known = Code::ALL.iter().map(|code| format!("{} {}", code.as_str(), code.status().as_u16()));
    assert_same(("docs/API.md", explained), ("the code", set(known)));
}

#[test]
fn every_route_is_described() {
    let page = text("docs/API.md");
    let described = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let routes = router::list().into_iter().map(|route| format!("{} {}", route.method, route.path));
    assert_same(("docs/API.md", set(described)), ("the router", set(routes)));
}

#[test]
fn every_event_is_named() {
    let page = text("docs/EVENTS.md");
    let named = code_words(&page).into_iter().filter(|word| word.starts_with("dockhost.") && word.ends_with(".v1"));
    let golden = files("domain/golden", ".json").into_iter().filter_map(|path| {
        let name = path.file_stem()?.to_str()?.to_owned();
        name.starts_with("dockhost.").then_some(name)
    });
    assert_same(("docs/EVENTS.md", set(named)), ("domain/golden", set(golden)));
}

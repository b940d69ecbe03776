//! `docs/openapi.json`, `docs/API.md` and `docs/EVENTS.md` against the code.

use std::collections::BTreeSet;

use dockhost::http::response::Code;
use dockhost::http::{dockhost_v2, openapi};
use serde_json::Value;

use super::{assert_same, between, code_words, files, set, text};

fn document() -> Value {
    serde_json::from_str(&openapi::json().unwrap()).unwrap()
}

#[test]
fn openapi_snapshot_is_current() {
    let renew = "renew it with: cargo run -- openapi > docs/openapi.json";
    assert!(text("docs/openapi.json").trim_end() == openapi::json().unwrap(), "docs/openapi.json is outdated; {renew}");
}

/// Every reference within the document, wherever it stands.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn openapi_every_reference_resolves() {
    let (document, mut found) = (document(), BTreeSet::new());
    references(&document, &mut found);
    assert!(found.len() > 50, "too few references: {found:?}");
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "the document has no {reference}");
    }
}

/// The answers of all operations, references resolved.
fn answers(document: &Value) -> Vec<Value> {
    let members = |value: &Value| value.as_object().unwrap().values().cloned().collect::<Vec<_>>();
    let operations = members(&document["paths"]).into_iter().flat_map(|item| members(&item));
    let answers = operations.flat_map(|operation| members(&operation["responses"]));
    let resolve = |answer: Value| match answer["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap().clone(),
        None => answer,
    };
    answers.map(resolve).collect()
}

#[test]
fn openapi_has_every_error_code_in_an_answer() {
    let answers = answers(&document());
    let descriptions: String = answers.iter().filter_map(|answer| answer["description"].as_str()).collect();
    let documented =
        Code::ALL.iter().map(|code| code.as_str()).filter(|code| descriptions.contains(&format!("`{code}`")));
    assert_same(("the answers", set(documented)), ("the code", set(Code::ALL.iter().map(|code| code.as_str()))));
}

#[test]
fn api_page_names_existing_codes_and_paths_and_every_header() {
    let (page, document) = (text("docs/API.md"), document());
    let words = code_words(&page);
    let known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let is_code =
        |word: &&&str| word.trim_matches('_').contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    for code in words.iter().filter(is_code) {
        assert!(known.contains(code), "docs/API.md names the code {code}, which does not exist");
    }
    for path in words.iter().filter_map(|word| word.find("/api/v2/").map(|start| &word[start..])) {
        let is_known = document["paths"].get(dockhost_v2::own_path(path)).is_some();
        assert!(is_known, "docs/API.md names the path {path}, which does not exist");
    }
    let mut headers: BTreeSet<String> = answers(&document)
        .iter()
        .filter_map(|answer| answer["headers"].as_object())
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let parameters = document.to_string();
    headers.extend(between(&parameters, "\"in\":\"header\",\"name\":\"", "\"").into_iter().map(str::to_owned));
    // Explained as the cookies of sign-up and sign-in.
    headers.remove("Set-Cookie");
    assert!(headers.len() >= 8, "too few headers: {headers:?}");
    for header in headers {
        let is_explained = words.iter().any(|word| word.starts_with(&header));
        assert!(is_explained, "docs/API.md does not explain the header {header}");
    }
}

#[test]
fn events_page_names_every_event() {
    let page = text("docs/EVENTS.md");
    let has_version = |word: &str| word.rsplit_once(".v").is_some_and(|(_, version)| version.parse::<u32>().is_ok());
    let named = code_words(&page).into_iter().filter(|word| word.starts_with("dockhost.") && has_version(word));
    let golden = files("domain/golden", ".json").into_iter().filter_map(|path| {
        let name = path.file_stem()?.to_str()?.to_owned();
        // Members that were added to a version are in a file of their own, such as `….v2-removed.json`.
        let (event, version) = name.rsplit_once(".v")?;
        let version = version.split('-').next()?;
        name.starts_with("dockhost.").then(|| format!("{event}.v{version}"))
    });
    assert_same(("docs/EVENTS.md", set(named)), ("domain/golden", set(golden)));
}

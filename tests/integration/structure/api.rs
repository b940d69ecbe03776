//! `docs/openapi.json`, `docs/API.md` and `docs/EVENTS.md` against the code.

use dockhost::http::openapi;
use dockhost::http::response::Code;
use serde_json::Value;

use super::{assert_same, code_words, files, set, text};

fn document() -> Value {
    serde_json::from_str(&openapi::json().unwrap()).unwrap()
}

#[test]
fn openapi_snapshot_is_current() {
    let renew = "renew it with: cargo run -- openapi > docs/openapi.json";
    assert!(text("docs/openapi.json").trim_end() == openapi::json().unwrap(), "docs/openapi.json is outdated; {renew}");
}

#[test]
fn openapi_documents_every_error_code() {
    // What an unknown method gets belongs to no operation.
    let documented = document()["components"]["schemas"]["ErrorCode"]["enum"].clone();
    let documented = documented.as_array().unwrap().iter().map(|code| code.as_str().unwrap());
    let known = Code::ALL.iter().map(|code| code.as_str());
    assert_same(("the document", set(documented)), ("the code", set(known)));

    let text = openapi::json().unwrap();
    let (paths, _) = text.split_once("\"schemas\"").unwrap();
    let components = document()["components"]["responses"].to_string();
    for code in Code::ALL {
        let quoted = format!("`{}`", code.as_str());
        assert!(paths.contains(&quoted) || components.contains(&quoted), "{quoted} is in no answer");
    }
}

#[test]
fn events_page_names_every_event() {
    let page = text("docs/EVENTS.md");
    let named = code_words(&page).into_iter().filter(|word| word.starts_with("dockhost.") && word.ends_with(".v1"));
    let golden = files("domain/golden", ".json").into_iter().filter_map(|path| {
        let name = path.file_stem()?.to_str()?.to_owned();
        name.starts_with("dockhost.").then_some(name)
    });
    assert_same(("docs/EVENTS.md", set(named)), ("domain/golden", set(golden)));
}

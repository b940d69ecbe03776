//! The modules of `src/`: `src/lib.rs` and `docs/ARCHITECTURE.md` list them from the lowest up, and each uses only
//! modules below it.

use std::collections::BTreeSet;
use std::path::Path;

use super::{files, root, set, text};

/// The modules in the order in which `src/lib.rs` lists them, the lowest first.
fn layers() -> Vec<String> {
    let lib = text("src/lib.rs");
    lib.lines()
        .filter_map(|line| line.strip_prefix("//! - [`")?.split_once("`]"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The module that a file of `src/` belongs to.
fn module_of(path: &Path) -> String {
    path.iter().nth(1).unwrap().to_string_lossy().into_owned()
}

/// The part of a source file that is compiled into the program: without comments, and without the tests below
/// `#[cfg(test)]`, which stand at the end of a file.
fn production_code(source: &str) -> String {
    let code = source.split_once("#[cfg(test)]\nmod tests {").map_or(source, |(code, _)| code);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules that code refers to by `crate::name` or `crate::{name, …}`.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let list = rest.strip_prefix('{').map(top_level_items);
        for item in list.unwrap_or_else(|| vec![rest]) {
            let name: String = item.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            used.insert(name);
        }
    }
    used.remove("");
    used
}

/// The items of a `use` list that begins after its `{`, without splitting nested lists.
fn top_level_items(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

/// The uses of a module that isn't below the file's own in `layers`.
fn upward_uses(layers: &[String], module: &str, code: &str) -> Vec<String> {
    let level = |name: &str| layers.iter().position(|layer| layer == name);
    let upward = |used: &String| match (level(used), level(module)) {
        (Some(used), Some(own)) => used > own,
        _ => true,
    };
    used_modules(code).into_iter().filter(upward).collect()
}

/// The source files of all modules, without the files that hold only tests.
fn sources() -> Vec<std::path::PathBuf> {
    let is_test = |path: &Path| path.iter().any(|part| part == "tests" || part == "tests.rs");
    files("src", ".rs").into_iter().filter(|path| path.iter().count() > 2 && !is_test(path)).collect()
}

#[test]
fn modules_use_only_lower_modules() {
    let layers = layers();
    let mut wrong = Vec::new();
    for path in sources() {
        let code = production_code(&text(&path));
        let upward = upward_uses(&layers, &module_of(&path), &code);
        wrong.extend(upward.into_iter().map(|used| format!("{} uses {used}", path.display())));
        // As many `super`s as lead to the crate's root would go unseen.
        let depth = path.iter().skip(1).filter(|part| *part != "mod.rs").count();
        if code.contains(&"super::".repeat(depth)) {
            wrong.push(format!("{} leaves its module by super", path.display()));
        }
    }
    assert!(wrong.is_empty(), "against the order of src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn upward_uses_every_form_of_use_is_found() {
    let layers = ["common", "broker", "http"].map(str::to_owned);
    let found = |code: &str| upward_uses(&layers, "broker", code);
    assert_eq!(found("use crate::common::clock;\nuse crate::broker::streams;"), Vec::<String>::new());
    assert_eq!(found("use crate::http::router;"), ["http"]);
    assert_eq!(found("let app = crate::http::app::App::new();"), ["http"]);
    assert_eq!(found("pub(crate) use crate::{common::{clock, error}, http};"), ["http"]);
    assert_eq!(found("use crate::unlisted::thing;"), ["unlisted"]);
    assert_eq!(
        production_code("//! [`crate::http`]\nfn f() {}\n#[cfg(test)]\nmod tests { use crate::http; }"),
        "fn f() {}"
    );
}

#[test]
fn src_root_has_no_other_files() {
    let at_root = files("src", ".rs").into_iter().filter(|path| path.iter().count() == 2);
    assert_eq!(set(at_root.map(|path| module_of(&path))), set(["lib.rs", "main.rs"]));
}

#[test]
fn module_lists_name_every_module_in_order() {
    let layers = layers();
    let folders = std::fs::read_dir(root().join("src")).unwrap().map(Result::unwrap);
    let folders = folders.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    assert_eq!(set(layers.clone()), set(folders), "src/lib.rs");
    let page = text("docs/ARCHITECTURE.md");
    let (_, table) = page.split_once("In `src/`:").unwrap();
    let rows = table.trim_start().lines().take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = rows.filter_map(|row| row.strip_prefix("| `")?.split_once("/`").map(|(name, _)| name)).collect();
    assert_eq!(rows, layers, "docs/ARCHITECTURE.md");
}

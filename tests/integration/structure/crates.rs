//! Which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{cargo, cargo_metadata, set};

/// The dependencies of each crate without dev-dependencies: direct ones, and all.
struct Crates {
    direct: BTreeMap<String, BTreeSet<String>>,
    all: BTreeMap<String, BTreeSet<String>>,
}

const OURS: [&str; 8] = [
    "dockhost",
    "dockhost-agent",
    "dockhost-dashboard",
    "dockhost-domain",
    "dockhost-environment",
    "dockhost-gateway",
    "dockhost-projections",
    "dockhost-telemetry",
];

fn crates() -> Crates {
    let metadata = cargo_metadata();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: BTreeMap<String, String> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let normal =
            node["deps"].as_array().unwrap().iter().filter(|dependency| {
                dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev")
            });
        let used = normal.map(|dependency| names[&text(&dependency["pkg"])].clone());
        uses.entry(names[&text(&node["id"])].clone()).or_default().extend(used);
    }
    let all = OURS.iter().map(|name| ((*name).to_owned(), transitive(&uses, name))).collect();
    Crates { direct: uses, all }
}

/// All dependencies of a crate, direct and indirect.
fn transitive(uses: &BTreeMap<String, BTreeSet<String>>, name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = vec![name.to_owned()];
    while let Some(name) = next.pop() {
        for used in uses.get(&name).into_iter().flatten() {
            if found.insert(used.clone()) {
                next.push(used.clone());
            }
        }
    }
    found
}

#[test]
fn crates_depend_only_on_allowed_crates() {
    let crates = crates();
    let ours = |name: &str| -> BTreeSet<String> {
        crates.direct[name].iter().filter(|used| used.starts_with("dockhost")).cloned().collect()
    };
    assert_eq!(ours("dockhost-domain"), set::<[&str; 0]>([]));
    assert_eq!(ours("dockhost-environment"), set::<[&str; 0]>([]));
    assert_eq!(ours("dockhost-projections"), set(["dockhost-domain"]));
    assert_eq!(ours("dockhost-telemetry"), set(["dockhost-domain", "dockhost-environment"]));
    assert_eq!(ours("dockhost-agent"), set(["dockhost-domain", "dockhost-environment", "dockhost-telemetry"]));
    assert_eq!(ours("dockhost-gateway"), set(["dockhost-agent", "dockhost-domain"]));
    assert_eq!(ours("dockhost-dashboard"), set::<[&str; 0]>([]));
    assert_eq!(
        ours("dockhost"),
        set([
            "dockhost-dashboard",
            "dockhost-domain",
            "dockhost-environment",
            "dockhost-gateway",
            "dockhost-projections",
            "dockhost-telemetry",
        ])
    );

    for io in ["tokio", "axum", "hyper", "async-nats", "mongodb", "bollard", "reqwest", "rand"] {
        assert!(!crates.all["dockhost-domain"].contains(io), "the domain must not do I/O, but depends on {io}");
        assert!(!crates.all["dockhost-dashboard"].contains(io), "the pages are only rendered, but depend on {io}");
    }
    let users = |library: &str| set(OURS.into_iter().filter(|ours| crates.direct[*ours].contains(library)));
    assert_eq!(users("mongodb"), set(["dockhost-projections"]));
    assert_eq!(users("bollard"), set(["dockhost-agent"]));
    assert_eq!(users("axum"), set(["dockhost"]));
    assert_eq!(users("async-nats"), set(["dockhost", "dockhost-agent"]));
}

/// `testing` holds state in memory and environment variables that simulate a newer release.
#[test]
fn crates_of_the_released_program_have_no_testing_feature() {
    let tree = |edges| cargo(&["tree", "-p", "dockhost", "-e", edges]);
    let testing = "feature \"testing\"";
    assert!(tree("features").contains(testing), "the tests use it");
    assert!(!tree("no-dev,features").contains(testing));
}

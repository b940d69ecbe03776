//! `docker-compose.yml` can be read, and what it names is there. Starting it needs an engine and images.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{assert_same, between, environment, root, set, text};

fn compose() -> Value {
    serde_yaml_ng::from_str(&text("docker-compose.yml")).unwrap()
}

fn names(value: &Value) -> BTreeSet<String> {
    set(value.as_object().unwrap().keys().cloned())
}

#[test]
fn every_service_says_what_it_runs_and_when_it_is_well() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    assert_eq!(names(&compose["services"]), set(["agent", "mongo", "nats", "server"]));
    let dockerfile = text("Dockerfile");
    for (name, service) in services {
        assert!(service["image"].is_string(), "{name} has no image");
        if let Some(target) = service["build"]["target"].as_str() {
            assert!(
                dockerfile.contains(&format!(" AS {target}\n")),
                "{name} is built from {target}, which isn't there"
            );
        }
        // An agent serves nothing that could be asked.
        assert!(name == "agent" || service["healthcheck"]["test"].is_array(), "{name} has no health check");
        for needed in service["depends_on"].as_object().into_iter().flatten() {
            assert!(
                services.contains_key(needed.0) && needed.1["condition"] == "service_healthy",
                "{name}: {needed:?}"
            );
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            let there = match source.strip_prefix("./") {
                Some(file) => root().join(file).exists(),
                None => source.starts_with('/') || compose["volumes"].get(source).is_some(),
            };
            assert!(there, "{name} mounts {source}, which isn't there");
        }
    }
}

#[test]
fn every_variable_is_one_that_we_know() {
    let text = text("docker-compose.yml");
    let used = set(between(&text, "${", "}").into_iter().map(|word| word.split(':').next().unwrap_or_default()));
    let explained = environment::explained();
    let unknown: Vec<_> = used.difference(&explained).collect();
    assert!(unknown.is_empty(), "not in .env.example: {unknown:?}");
    for service in compose()["services"].as_object().unwrap().values().filter(|service| service["build"].is_object()) {
        let unknown: Vec<_> = names(&service["environment"]).difference(&explained).cloned().collect();
        assert!(unknown.is_empty(), "not in .env.example: {unknown:?}");
    }
}

#[test]
fn the_broker_gets_every_variable_of_its_configuration() {
    let given = names(&compose()["services"]["nats"]["environment"]);
    assert_same(("docker-compose.yml", given), ("nats.conf", environment::of_the_broker()));
}

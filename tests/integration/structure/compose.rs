//! `docker-compose.yml` is valid, and everything that it names exists. Another test starts its brokers as processes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{assert_same, between, environment, root, set, text};

/// The file, with the shared parts merged.
pub fn compose() -> Value {
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text("docker-compose.yml")).unwrap();
    yaml.apply_merge().unwrap();
    serde_json::to_value(yaml).unwrap()
}

fn names(value: &Value) -> BTreeSet<String> {
    set(value.as_object().unwrap().keys().cloned())
}

/// The services whose names begin with `start`.
fn services(compose: &Value, start: &str) -> BTreeSet<String> {
    names(&compose["services"]).into_iter().filter(|name| name.starts_with(start)).collect()
}

#[test]
fn compose_services_have_an_image_and_a_health_check() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let expected = ["nats-1", "nats-2", "nats-3", "mongo-1", "mongo-2", "mongo-3", "mongo-init"];
    assert_eq!(
        names(&compose["services"]),
        set([&expected[..], &["server-1", "server-2", "balancer", "agent"]].concat())
    );
    let dockerfile = text("Dockerfile");
    for (name, service) in services {
        let image = service["image"].as_str().unwrap_or_else(|| panic!("{name} has no image"));
        let pinned = image.split_once(':').is_some_and(|(_, tag)| tag.starts_with(|c: char| c.is_ascii_digit()));
        assert!(pinned || service["build"].is_object(), "{name}: {image} has no version");
        if let Some(target) = service["build"]["target"].as_str() {
            assert!(
                dockerfile.contains(&format!(" AS {target}\n")),
                "{name} is built from {target}, which doesn't exist"
            );
        }
        // The agent has no port; mongo-init is a job that ends.
        let needs_check = !["agent", "mongo-init"].contains(&name.as_str());
        assert!(!needs_check || service["healthcheck"]["test"].is_array(), "{name} has no health check");
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            let end = if needed == "mongo-init" { "service_completed_successfully" } else { "service_healthy" };
            assert!(services.contains_key(needed) && how["condition"] == end, "{name}: {needed}: {how}");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            let exists = match source.strip_prefix("./") {
                Some(file) => root().join(file).exists(),
                None => source.starts_with('/') || compose["volumes"].get(source).is_some(),
            };
            assert!(exists, "{name} mounts {source}, which doesn't exist");
        }
    }
    // Each volume belongs to one service.
    let data = services.values().flat_map(|service| service["volumes"].as_array().into_iter().flatten());
    let data: Vec<_> =
        data.map(|volume| volume.as_str().unwrap()).filter(|volume| !volume.starts_with(['.', '/'])).collect();
    assert_eq!(set(data.iter().map(|volume| volume.split(':').next().unwrap())).len(), data.len());
    assert_eq!(names(&compose["volumes"]).len(), data.len());
}

#[test]
fn compose_variables_are_in_env_example() {
    let text = text("docker-compose.yml");
    let used = set(between(&text, "${", "}").into_iter().map(|word| word.split(':').next().unwrap_or_default()));
    let explained = environment::explained();
    let unknown: Vec<_> = used.difference(&explained).collect();
    assert!(unknown.is_empty(), "not in .env.example: {unknown:?}");
}

/// A new setting of server or agent that the file does not pass on would have no effect in `.env`.
#[test]
fn compose_servers_and_agent_get_all_their_settings_and_no_others() {
    let compose = compose();
    // What a server listens on and TLS: users connect to the load balancer. Where the engine is, and the simulated runtime.
    let decided_by_the_file = set([
        "DOCKHOST_BIND",
        "DOCKHOST_TLS_CERT",
        "DOCKHOST_TLS_KEY",
        "DOCKER_HOST",
        "DOCKHOST_SIMULATE_REFUSE",
        "DOCKHOST_SIMULATE_DELAY_MS",
    ]);
    let shared = environment::of_opentelemetry();
    let of_a_server = &environment::in_section("Server ") | &environment::in_section("Secrets of the server");
    for (start, own) in [("server-", of_a_server), ("agent", environment::of_the_agent())] {
        for service in services(&compose, start) {
            let passed = names(&compose["services"][&service]["environment"]);
            let expected = &(&own | &shared) - &decided_by_the_file;
            assert_same((&service, passed), ("what it reads of .env", expected));
        }
    }
    for (name, service) in compose["services"].as_object().unwrap() {
        assert!(service["env_file"].is_null(), "{name} gets the secrets of all services");
    }
}

#[test]
fn compose_brokers_have_all_variables_of_their_configuration_and_different_names() {
    let compose = compose();
    for name in services(&compose, "nats-") {
        let environment = &compose["services"][&name]["environment"];
        let files = ["nats.conf", "nats-cluster.conf"];
        assert_same((&name, names(environment)), ("its configuration", environment::of_the_broker(&files)));
        assert_eq!(environment["DOCKHOST_NATS_NAME"], name.as_str());
        assert!(environment["DOCKHOST_NATS_ROUTES"].as_str().unwrap().contains(&format!("\"nats://{name}:6222\"")));
    }
}

#[test]
fn compose_services_know_all_brokers_members_and_servers() {
    let compose = compose();
    let hosts = |list: &str| set(list.split(',').map(|url| url.rsplit('/').next().unwrap().split(':').next().unwrap()));
    for server in services(&compose, "server-") {
        let environment = &compose["services"][&server]["environment"];
        assert_eq!(hosts(environment["NATS_URL"].as_str().unwrap()), services(&compose, "nats-"));
        let (user, uri) = environment["MONGODB_URI"].as_str().unwrap().split_once('@').unwrap();
        assert!(user.starts_with("mongodb://dockhost:${DOCKHOST_MONGODB_PASSWORD:?"), "{user}");
        let (members, options) = uri.split_once('/').unwrap();
        let mongo: BTreeSet<_> = services(&compose, "mongo-").into_iter().filter(|name| name != "mongo-init").collect();
        assert_eq!(hosts(members), mongo);
        assert_eq!(options, "?replicaSet=rs0&authSource=admin");
        let job = compose["services"]["mongo-init"]["command"].to_string();
        assert!(mongo.iter().all(|member| job.contains(&format!("'{member}:27017'"))), "{job}");
    }
    let published: BTreeSet<_> = services(&compose, "nats-")
        .iter()
        .map(|name| compose["services"][name]["ports"][0].as_str().unwrap().replace(":4222", ""))
        .map(|address| format!("nats://{address}"))
        .collect();
    // `replace` removes both ports of `127.0.0.1:4222:4222`, so it does the same here.
    let urls = compose["services"]["agent"]["environment"]["NATS_URL"].as_str().unwrap();
    assert_eq!(set(urls.split(',').map(|url| url.replace(":4222", ""))), published);

    let balancer = text("haproxy.cfg");
    for section in balancer.split("\nbackend ").skip(1) {
        let lines = section.lines().filter_map(|line| line.trim().strip_prefix("server "));
        let (names, addresses): (Vec<_>, Vec<_>) = lines.map(|line| line.split_once(' ').unwrap()).unzip();
        assert_eq!(set(names.clone()), services(&compose, "server-"));
        assert!(names.iter().zip(addresses).all(|(name, address)| address == format!("{name}:3001")), "{section}");
    }
    assert!(balancer.contains("option httpchk GET /health"), "{balancer}");

    // The servers believe what the balancer says about its clients, and nobody else.
    assert!(balancer.contains("option forwardfor"), "{balancer}");
    let address = &compose["services"]["balancer"]["networks"]["default"]["ipv4_address"];
    assert!(address.is_string());
    for server in services(&compose, "server-") {
        assert_eq!(&compose["services"][&server]["environment"]["DOCKHOST_TRUSTED_PROXIES"], address);
    }
}

/// One member makes the server's user, with the password in the servers' URI; the others must be empty to join it.
#[test]
fn compose_database_needs_a_password_and_a_key() {
    let compose = compose();
    for member in services(&compose, "mongo-").into_iter().filter(|name| name != "mongo-init") {
        let service = &compose["services"][&member];
        let required = |name: &str| service["environment"][name].as_str().unwrap_or_default().contains(":?");
        assert!(required("DOCKHOST_MONGODB_KEY"), "{member}");
        assert_eq!(required("MONGO_INITDB_ROOT_PASSWORD"), member == "mongo-1", "{member}");
        let command = service["command"].to_string();
        assert!(command.contains(r#""--keyFile","/tmp/key""#), "{command}");
        assert!(service["entrypoint"].to_string().contains("> /tmp/key"), "{service}");
    }
    let job = &compose["services"]["mongo-init"];
    let [password, of_server] = [&job["environment"], &compose["services"]["server-1"]["environment"]];
    let password = password["DOCKHOST_MONGODB_PASSWORD"].as_str().unwrap();
    assert!(of_server["MONGODB_URI"].as_str().unwrap().contains(password));
    assert!(job["command"].to_string().contains("process.env.DOCKHOST_MONGODB_PASSWORD"));
}

#[test]
fn compose_containers_have_limited_logs_and_time_to_stop() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        assert!(service["logging"]["options"]["max-size"].is_string(), "{name}");
        // The others end within the engine's 10 s.
        let takes_longer = name.starts_with("server-") || (name.starts_with("mongo-") && name != "mongo-init");
        assert_eq!(service["stop_grace_period"].is_string(), takes_longer, "{name}");
    }
    let agent = compose["services"]["agent"]["environment"]["LAN_IP"].as_str().unwrap();
    assert!(agent.starts_with("${LAN_IP:?"), "{agent}");
}

//! The files of `deploy/`: what they name exists, and the programs that read them accept them where they are installed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{assert_same, between, cargo_metadata, environment, files, root, set, text};
use crate::harness::balancer::find_on_path;

const UNITS: [&str; 4] =
    ["dockhost.service", "dockhost-agent.service", "dockhost-backup.service", "dockhost-backup.timer"];
/// What `systemd-analyze security` calls the exposure, of 100, that each service may have.
const EXPOSURE: [(&str, u8); 3] =
    [("dockhost.service", 20), ("dockhost-agent.service", 45), ("dockhost-backup.service", 20)];

/// Runs a program if the machine has it; its output otherwise is the failure.
fn check(name: &str, args: &[&str], env: &[(&str, &str)]) {
    let Some(program) = find_on_path(name) else {
        eprintln!("not checked: {name} is not installed");
        return;
    };
    let output = Command::new(program).args(args).envs(env.iter().copied()).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{name} {args:?}: {out}{err}");
}

/// Copies the text of a file of the project into a folder.
fn copy(folder: &Path, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
    let path = folder.join(Path::new(name).file_name().unwrap());
    std::fs::write(&path, change(text(name))).unwrap();
    path
}

fn yaml(name: &str) -> Value {
    serde_json::to_value(serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&text(name)).unwrap()).unwrap()
}

/// The lines `NAME=…` of a file or a unit.
fn variables(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(|line| line.strip_prefix("Environment=").unwrap_or(line));
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    set(names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')))
}

#[test]
fn load_balancers_accept_their_configurations() {
    let folder = tempfile::tempdir().unwrap();
    let tls = "tests/integration/api/tls/first";
    let pair = [".crt", ".key"].map(|end| text(format!("{tls}{end}"))).concat();
    let certificate = folder.path().join("site.pem");
    std::fs::write(&certificate, pair).unwrap();
    let with_certificate = |text: String| text.replace("/etc/haproxy/site.pem", certificate.to_str().unwrap());
    let files = ["haproxy.cfg", "deploy/haproxy-tls.cfg"].map(|name| copy(folder.path(), name, with_certificate));
    let [plain, tls] = files.each_ref().map(|path| path.to_str().unwrap());
    check("haproxy", &["-c", "-f", plain], &[]);
    check("haproxy", &["-c", "-f", plain, "-f", tls], &[]);
    let caddyfile = root().join("deploy/Caddyfile");
    let home = folder.path().to_str().unwrap();
    let arguments = ["validate", "--adapter", "caddyfile", "--config", caddyfile.to_str().unwrap()];
    check("caddy", &arguments, &[("HOME", home), ("XDG_DATA_HOME", home), ("XDG_CONFIG_HOME", home)]);
}

/// Both forward agents to the WebSocket ports of all brokers, and everything else to all servers of `docker-compose.yml`.
#[test]
fn load_balancers_know_all_servers_and_brokers() {
    let compose = super::compose::compose();
    let services = compose["services"].as_object().unwrap().keys();
    let [servers, brokers] = ["server-", "nats-"].map(|start| {
        let names = services.clone().filter(|name| name.starts_with(start));
        set(names.map(|name| format!("{name}:{}", if start == "nats-" { 8080 } else { 3001 })))
    });
    let words = |text: &str, start: &str| {
        let words = text.split_whitespace().filter(|word| word.starts_with(start) && word.contains(':'));
        set(words.map(|word| word.trim_end_matches('{')))
    };
    let (haproxy, caddy) = (text("deploy/haproxy-tls.cfg"), text("deploy/Caddyfile"));
    assert_same(("haproxy-tls.cfg", words(&haproxy, "nats-")), ("docker-compose.yml", brokers.clone()));
    assert_same(("Caddyfile", words(&caddy, "nats-")), ("docker-compose.yml", brokers));
    assert_same(("Caddyfile", words(&caddy, "server-")), ("docker-compose.yml", servers));
    for backend in ["replicas", "unhealthy"] {
        assert!(haproxy.contains(backend) && text("haproxy.cfg").contains(&format!("\nbackend {backend}\n")));
    }
    let listen = &compose["services"]["nats-1"]["environment"]["DOCKHOST_NATS_WEBSOCKET_LISTEN"];
    assert!(listen.as_str().unwrap().ends_with(":8080\""), "{listen}");
}

#[test]
fn units_are_valid_and_restrict_their_services() {
    assert_same(
        (
            "deploy/systemd",
            set(files("deploy/systemd", "").iter().map(|path| path.file_name().unwrap().to_str().unwrap())),
        ),
        ("the test", set(UNITS)),
    );
    let folder = tempfile::tempdir().unwrap();
    let units: Vec<PathBuf> = UNITS
        .iter()
        .map(|unit| {
            copy(folder.path(), &format!("deploy/systemd/{unit}"), |text| {
                // What they start need not be installed here.
                text.replace("/usr/bin/dockhost-agent", "/bin/true").replace("/usr/bin/dockhost", "/bin/true")
            })
        })
        .collect();
    let mut arguments = vec!["verify", "--man=no", "--recursive-errors=no"];
    arguments.extend(units.iter().map(|path| path.to_str().unwrap()));
    check("systemd-analyze", &arguments, &[]);
    for (unit, exposure) in EXPOSURE {
        let path = folder.path().join(unit);
        let threshold = format!("--threshold={exposure}");
        check("systemd-analyze", &["security", "--offline=true", &threshold, path.to_str().unwrap()], &[]);
    }
}

#[test]
fn units_and_manifests_use_settings_that_exist() {
    let explained = environment::explained();
    let unit = |name: &str| text(format!("deploy/systemd/{name}"));
    for name in UNITS {
        let unknown: Vec<_> = variables(&unit(name)).difference(&explained).cloned().collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
    for name in ["kubernetes/settings.env", "package/server.env", "package/agent.env"] {
        let settings = variables(&text(format!("deploy/{name}")).replace("\n#", "\n"));
        let unknown: Vec<_> = settings.difference(&explained).collect();
        assert!(!settings.is_empty() && unknown.is_empty(), "{name}: {unknown:?}");
    }
    // The backup is what OPERATIONS describes.
    assert!(unit("dockhost.service").contains("\nExecStart=/usr/bin/dockhost serve\n"));
    assert!(unit("dockhost-backup.service").contains("dockhost export /var/lib/dockhost-backup/log\n"));
}

/// Whoever stops a server gives it the time that a shutdown takes with the default delay.
#[test]
fn servers_get_the_time_that_a_shutdown_takes() {
    let number = |text: &str, before: &str, after: &str| -> u64 {
        let found = between(text, before, after);
        found.first().unwrap_or_else(|| panic!("no {before}")).parse().unwrap_or_else(|_| panic!("{before}{found:?}"))
    };
    let constant =
        |file: &str, name: &str| number(&text(file), &format!("const {name}: Duration = Duration::from_secs("), ")");
    let delay = number(&text(".env.example"), "\n#DOCKHOST_SHUTDOWN_DELAY_MS=", "\n").div_ceil(1000);
    // Requests in flight and then background tasks; after them the last spans.
    let takes =
        delay + 2 * constant("src/app/shutdown.rs", "TIMEOUT") + constant("telemetry/src/otlp/mod.rs", "MAX_FLUSH");
    let compose = super::compose::compose();
    let grace = compose["services"]["server-1"]["stop_grace_period"].as_str().unwrap().to_owned();
    let pod = &yaml("deploy/kubernetes/deployment.yaml")["spec"]["template"]["spec"];
    for (file, given) in [
        ("dockhost.service", number(&text("deploy/systemd/dockhost.service"), "\nTimeoutStopSec=", "\n")),
        ("docker-compose.yml", number(&format!(" {grace}"), " ", "s")),
        ("deployment.yaml", pod["terminationGracePeriodSeconds"].as_u64().unwrap()),
        ("docs/OPERATIONS.md", number(&text("docs/OPERATIONS.md"), "\nSo give a server ", " s ")),
    ] {
        assert!(given > takes, "{file}: {given} s, but a shutdown takes {takes} s");
    }
}

#[test]
fn manifests_belong_together() {
    let folder = "deploy/kubernetes";
    let list = yaml(&format!("{folder}/kustomization.yaml"));
    let listed = set(list["resources"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()));
    let found = files(folder, ".yaml").into_iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    assert_same(("kustomization.yaml", listed), (folder, set(found.filter(|name| name != "kustomization.yaml"))));

    let deployment = yaml(&format!("{folder}/deployment.yaml"));
    let (spec, pod) = (&deployment["spec"], &deployment["spec"]["template"]["spec"]);
    let labels = &spec["template"]["metadata"]["labels"];
    let selectors = [
        &spec["selector"]["matchLabels"],
        &yaml(&format!("{folder}/service.yaml"))["spec"]["selector"],
        &yaml(&format!("{folder}/disruption.yaml"))["spec"]["selector"]["matchLabels"],
        &yaml(&format!("{folder}/network.yaml"))["spec"]["podSelector"]["matchLabels"],
        &pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ];
    assert!(labels.is_object() && selectors.iter().all(|selector| *selector == labels), "{selectors:?}");
    assert!(spec["replicas"].as_u64() > Some(1), "a budget of one needs at least two");

    let server = &pod["containers"][0];
    let documented: Value = serde_json::from_str(&text("docs/openapi.json")).unwrap();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = server[probe]["httpGet"]["path"].as_str().unwrap();
        assert!(documented["paths"][path].is_object(), "{probe}: {path}");
    }
    let port = |name: &str| {
        let ports = server["ports"].as_array().unwrap().iter();
        ports.clone().find(|port| port["name"] == name).unwrap()["containerPort"].to_string()
    };
    let settings = text(format!("{folder}/settings.env"));
    assert!(settings.contains(&format!("DOCKHOST_METRICS_ADDRESS=0.0.0.0:{}\n", port("metrics"))), "{settings}");
    assert_eq!(spec["template"]["metadata"]["annotations"]["prometheus.io/port"], port("metrics"));
    assert!(text(".env.example").contains(&format!("\n#PORT={}\n", port("http"))));
    let image = server["image"].as_str().unwrap();
    assert_eq!(list["images"][0]["name"], image);
    assert_eq!(list["images"][0]["newTag"], env!("CARGO_PKG_VERSION"));
    assert!(text("docker-compose.yml").contains(&format!("image: {image}\n")));
    let user = format!("\nUSER {}:{}\n", pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]);
    assert!(text("Dockerfile").contains(&user), "{user}");
    check("kubectl", &["kustomize", root().join(folder).to_str().unwrap()], &[]);
}

/// The engine without BuildKit knows no mounts.
#[test]
fn images_are_built_with_and_without_buildkit() {
    let dockerfile = text("Dockerfile");
    let instructions = dockerfile.lines().filter(|line| !line.starts_with('#'));
    assert!(instructions.clone().all(|line| !line.contains("--mount") && !line.contains("<<")), "{dockerfile}");
    // The version of the image names the commit, although `.git` is not copied.
    assert!(instructions.clone().any(|line| line == "ARG DOCKHOST_COMMIT"), "{dockerfile}");
}

/// Each packaged settings file is one that dpkg asks about before it replaces it, and is read by a unit.
#[test]
fn packages_keep_the_settings() {
    for (manifest, unit, name) in [
        ("Cargo.toml", "dockhost.service", "/etc/dockhost/server.env"),
        ("agent/Cargo.toml", "dockhost-agent.service", "/etc/dockhost/agent.env"),
    ] {
        assert!(text(manifest).contains(&format!("conf-files = [\"{name}\"]")), "{manifest}");
        assert!(text(format!("deploy/systemd/{unit}")).contains(&format!("\nEnvironmentFile={name}\n")), "{unit}");
    }
    // The master key is in no package, and no script is written by hand that could remove it.
    assert!(!text("deploy/package/install.sh").contains("secrets.env"));
    let scripts = files("deploy/package/debian", "");
    assert_eq!(scripts, [Path::new("deploy/package/debian/dockhost.postinst")]);
}

/// cargo-deb generates what the packages do with their units: the tools of Debian enable, restart, stop and forget them.
#[test]
fn packages_have_each_unit_once_and_start_none() {
    let [scripts, units_folder] =
        ["deploy/package/debian", "deploy/systemd"].map(|folder| root().join(folder).canonicalize().unwrap());
    let mut packaged = Vec::new();
    let metadata = cargo_metadata();
    for package in metadata["packages"].as_array().unwrap().iter().filter(|package| package["source"].is_null()) {
        let deb = &package["metadata"]["deb"];
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let path = |value: &Value| folder.join(value.as_str().unwrap()).canonicalize().unwrap();
        for units in deb["systemd-units"].as_array().into_iter().flatten() {
            assert_eq!(path(&deb["maintainer-scripts"]), scripts);
            assert_eq!(path(&units["unit-scripts"]), units_folder);
            assert_eq!((&units["enable"], &units["start"]), (&json!(false), &json!(false)), "{units}");
            let name = units["unit-name"].as_str().unwrap();
            // An upgrade restarts what runs, except a backup, which goes on.
            let restarts = name != "dockhost-backup";
            for option in ["restart-after-upgrade", "stop-on-upgrade"] {
                assert_eq!(units[option].as_bool().unwrap_or(true), restarts, "{name}: {option}");
            }
            packaged.extend(UNITS.into_iter().filter(|unit| unit.split_once('.').unwrap().0 == name));
        }
        // Assets that are units would be there twice.
        assert!(!deb["assets"].to_string().contains("/lib/"), "{}", deb["assets"]);
    }
    assert_eq!(packaged.len(), UNITS.len(), "{packaged:?}");
    assert_same(("the packages", set(packaged)), ("deploy/systemd", set(UNITS)));
}

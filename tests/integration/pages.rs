//! The web pages in a real browser: the tests of `e2e/` against servers with a simulated machine, and one with containers.

use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::engine::Engine;
use crate::harness::{ADMIN, ADMIN_PASSWORD, World};
use crate::node::{can_run, run};
use crate::quarantine::{person, quarantined, rebuild_by_an_older_program};
use crate::real_ssh::{LONG_DEADLINES, add_docker_agent};
use crate::structure::root;

/// What the tests need that this machine lacks; `make setup` and `make test` install it where they can.
fn missing(e2e: &Path) -> Option<&'static str> {
    let programs = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let has_chromium = std::env::var_os("CHROMIUM").is_some() || programs.iter().any(|path| Path::new(path).exists());
    let has_node = std::process::Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok();
    match (has_node, has_chromium, e2e.join("node_modules/playwright-core").is_dir()) {
        (false, ..) => Some("node"),
        (_, false, _) => Some("chromium"),
        (.., false) => Some("e2e/node_modules (npm ci in e2e/)"),
        (true, true, true) => None,
    }
}

fn has_browser() -> bool {
    can_run("the browser tests", missing(&root().join("e2e")))
}

#[tokio::test]
async fn pages_in_a_browser_do_what_a_person_needs() {
    if !has_browser() {
        return;
    }
    let [username, password] = ADMIN;
    // A machine that stands still is neither late nor lost before the test has seen what it is to see.
    let (late, lost) = (("DOCKHOST_CREATE_WITHIN_MS", "60000"), ("DOCKHOST_LOST_AFTER_MS", "60000"));
    let mut world = World::with(1, &[username, password, late, lost]).await;
    world.add_agent("alpha", 5).await;
    run(&["journey.test.mjs", "account.test.mjs"], &[("DOCKHOST_URL", world.replicas[0].url.clone())]).await;
    run_under_way(&world).await;
    run_operations(&world).await;
}

/// Runs what the pages show of an operation while the machine stands still.
async fn run_under_way(world: &World) {
    let pid = world.agents[0].process.as_ref().unwrap().pid().unwrap();
    let settings = [("DOCKHOST_URL", world.replicas[0].url.clone()), ("DOCKHOST_AGENT_PID", pid.to_string())];
    run(&["under_way.test.mjs"], &settings).await;
}

/// Runs what an administrator does with a quarantined aggregate and with what others have left.
async fn run_operations(world: &World) {
    let (owner, subject) = person(world, "quinn").await;
    let created = owner.post("/api/v2/user/instance", json!({ "name": "quarantined" })).await;
    assert_eq!(created.status, 201, "{created:?}");
    rebuild_by_an_older_program(world, &subject).await;
    quarantined(world, 0, &[&subject]).await;
    let secrets: Vec<String> = world.nats.secrets.server_env().into_iter().map(|(_, secret)| secret).collect();
    let settings = [
        ("DOCKHOST_URL", world.replicas[0].url.clone()),
        ("DOCKHOST_ADMIN_PASSWORD", ADMIN_PASSWORD.to_owned()),
        ("DOCKHOST_QUARANTINED", subject),
        ("DOCKHOST_SECRETS", secrets.join("\n")),
    ];
    run(&["operations.test.mjs"], &settings).await;
}

/// Whether this machine can run containers and log in to them.
fn can_log_in() -> bool {
    let has_ssh = std::process::Command::new("ssh").arg("-V").stderr(Stdio::null()).status().is_ok();
    let missing = if has_ssh { Engine::missing() } else { Some("ssh (openssh-client)") };
    can_run("the browser test of a login", missing)
}

#[tokio::test]
async fn pages_in_a_browser_lead_to_a_shell_with_the_command_that_they_show() {
    if !has_browser() || !can_log_in() {
        return;
    }
    let engine = Engine::start();
    let mut world = World::with(1, &LONG_DEADLINES).await;
    add_docker_agent(&mut world, &engine, "workshop", 2, "20840-20859").await;
    run(&["shell.test.mjs"], &[("DOCKHOST_URL", world.replicas[0].url.clone())]).await;
}

#[tokio::test]
async fn pages_in_a_browser_do_what_an_administrator_needs() {
    if !has_browser() {
        return;
    }
    let [username, password] = ADMIN;
    let mut world = World::with(1, &[username, password, ("DOCKHOST_ENROLMENT", "approval")]).await;
    let alpha = world.register("alpha", 5).await;
    world.start_agent(alpha, &[]);
    let (url, password) = (world.replicas[0].url.clone(), ADMIN_PASSWORD.to_owned());
    run(&["admin.test.mjs"], &[("DOCKHOST_URL", url), ("DOCKHOST_ADMIN_PASSWORD", password)]).await;
}

#[tokio::test]
async fn pages_in_a_browser_show_changes_and_outlive_their_replica() {
    if !has_browser() {
        return;
    }
    let mut world = World::start(2).await;
    world.add_agent("alpha", 9).await;
    let urls: Vec<&str> = world.replicas.iter().map(|replica| replica.url.as_str()).collect();
    let pid = world.replicas[0].process.as_ref().unwrap().pid().unwrap();
    run(&["live.test.mjs"], &[("DOCKHOST_REPLICAS", urls.join(",")), ("DOCKHOST_PID", pid.to_string())]).await;
}

//! `dockhost admin` as a client of the API: tables, JSON, exit codes, and a token that only its owner reads.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::harness::wait::DEADLINE;
use crate::harness::{ADMIN, CommandOutput, World, ports, run_with_input, wait_until};

/// The directory for tokens.
fn config(world: &World) -> (&'static str, String) {
    ("XDG_CONFIG_HOME", world.data.path().join("config").display().to_string())
}

/// Runs `dockhost admin` with a directory for the token.
async fn admin(world: &World, args: &[&str], input: &str, env: &[(&'static str, String)]) -> CommandOutput {
    let all = [&[config(world), ("DOCKHOST_URL", world.replicas[0].url.clone())], env].concat();
    run_with_input(world.data.path(), &[&["admin"], args].concat(), &all, input).await
}

fn parsed(output: &CommandOutput) -> Value {
    serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn pick<const N: usize>(value: &Value, members: &[&str; N]) -> [Value; N] {
    members.map(|member| value[member].clone())
}

#[tokio::test]
async fn admin_command_cordons_drains_and_retires_machines() {
    let settings = [&ADMIN[..], &[("DOCKHOST_ENROLMENT", "approval")]].concat();
    let mut world = World::with(1, &settings).await;
    let token = [("DOCKHOST_TOKEN", world.admin().await.token().unwrap().to_owned())];
    let agent = world.register("workshop", 10).await;
    world.start_agent(agent, &[]);
    let run = async |args: &[&str]| {
        let output = admin(&world, &[args, &["-o", "json"]].concat(), "", &token).await;
        assert_eq!(output.code, 0, "{args:?}: {output:?}");
        parsed(&output)
    };
    assert_eq!(run(&["backends", "approve", "workshop", "--max-containers", "8"]).await["maxContainers"], 8);
    world.wait_for_backend("workshop", "connected").await;
    // The agent learns of it when it connects again.
    run(&["backends", "capacity", "workshop", "12"]).await;
    let labels = run(&["backends", "labels", "workshop", "gpu=yes", "room=b12"]).await;
    assert_eq!(labels["labels"], json!({ "gpu": "yes", "room": "b12" }));
    let found = run(&["backends", "list", "--label", "gpu=yes", "--search", "work", "--status", "connected"]).await;
    assert_eq!((found.as_array().unwrap().len(), &found[0]["username"]), (1, &json!("workshop")));
    assert_eq!(run(&["backends", "list", "--label", "gpu=no"]).await, json!([]));
    let add =
        ["webhooks", "add", "https://example.org/hook", "--machine", "workshop", "--type", "backend.drain-cancelled"];
    let added = run(&add).await;
    assert!(added["signingSecret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{added}");
    let filter =
        json!({ "user": null, "machine": found[0]["id"], "instance": null, "type": "backend.drain-cancelled" });
    assert_eq!(added["webhook"]["filter"], filter);
    assert_eq!(run(&["webhooks", "list"]).await[0]["id"], added["webhook"]["id"]);
    let created = world.user("ada").await.create().await;
    let history = run(&["instances", "history", created.data()["instanceId"].as_str().unwrap()]).await;
    assert!(history.to_string().contains("instance.requested"), "{history}");
    wait_until("the sessions of both are listed", DEADLINE, async || {
        let sessions = run(&["sessions", "list"]).await;
        let has = |name: &str| sessions.as_array().unwrap().iter().any(|one| one["owner"]["username"] == name);
        if has("admin") && has("ada") { Ok(()) } else { Err(sessions) }
    })
    .await;
    let settings = run(&["settings"]).await;
    let setting = |name: &str| settings.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    let chosen = pick(&setting("DOCKHOST_ENROLMENT"), &["value", "source"]);
    assert_eq!(chosen, [json!("approval"), json!("environment")]);
    let secret = pick(&setting("DOCKHOST_MASTER_KEY"), &["value", "isSet", "isSecret"]);
    assert_eq!(secret, [Value::Null, json!(true), json!(true)]);
    run(&["backends", "cordon", "workshop"]).await;
    let nowhere = run(&["placement", "explain", "--size", "small"]).await;
    run(&["backends", "uncordon", "workshop"]).await;
    let somewhere = run(&["placement", "explain", "--size", "small"]).await;
    assert!(nowhere != somewhere && somewhere.to_string().contains("workshop"), "{nowhere}, {somewhere}");
    let drain = run(&["backends", "drain", "workshop", "--within", "600", "--yes"]).await;
    assert!(drain.is_object(), "{drain}");
    assert!(run(&["backends", "drain-status", "workshop"]).await.is_object());
    run(&["backends", "undrain", "workshop"]).await;
    let key = run(&["backends", "rotate-key", "workshop", "--valid-for", "3600"]).await;
    assert!(key.to_string().contains("DOCKHOST_API_KEY"), "{key}");
    let refused = admin(&world, &["backends", "revoke", "workshop"], "", &token).await;
    assert!(refused.code == 1 && refused.err.contains("--yes"), "{refused:?}");
    run(&["backends", "revoke", "workshop", "--yes"]).await;
    let key = run(&["backends", "key", "workshop", "--yes"]).await;
    assert!(key.to_string().contains("DOCKHOST_API_KEY"), "{key}");
    run(&["backends", "retire", "workshop", "--yes"]).await;
}

#[tokio::test]
async fn admin_command_lists_shows_and_changes_what_the_api_does() {
    let mut world = World::on(crate::harness::Topology::ONE, 1, &ADMIN).await;
    world.add_agent("alpha", 10).await;
    let ada = world.user("ada").await;
    assert_eq!(ada.create().await.status, 201);
    let run = async |args: &[&str]| admin(&world, args, "", &[]).await;

    let signed_out = run(&["users", "list"]).await;
    assert!(signed_out.code == 3 && signed_out.err.contains("dockhost login"), "{signed_out:?}");
    let wrong = admin(&world, &["login", "admin"], "wrong password\n", &[]).await;
    assert!(wrong.code == 1 && wrong.err.contains("invalid_credentials"), "{wrong:?}");
    let signed_in = admin(&world, &["login", "admin"], "battery staple\n", &[]).await;
    assert!(signed_in.code == 0 && signed_in.out.contains("as admin (admin)"), "{signed_in:?}");
    let file = world.data.path().join("config/dockhost/sessions.json");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

    let at_the_only_server =
        run_with_input(world.data.path(), &["admin", "users", "list"], &[config(&world)], "").await;
    assert_eq!(at_the_only_server.code, 0, "{at_the_only_server:?}");
    let table = run(&["users", "list"]).await;
    let rows: Vec<Vec<&str>> = table.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((table.code, rows[0][..4].to_vec()), (0, vec!["NAME", "ROLE", "STATE", "INSTANCES"]), "{table:?}");
    assert!(rows.iter().any(|row| row[..4] == ["ada", "user", "active", "1"]), "{table:?}");
    let found = parsed(&run(&["users", "list", "--search", "AD", "--role", "user", "-o", "json"]).await);
    assert_eq!((found.as_array().unwrap().len(), &found[0]["username"]), (1, &json!("ada")));
    let shown = parsed(&run(&["users", "show", "ada", "-o", "json"]).await);
    assert_eq!(shown, found[0]);

    // Without a terminal there is no confirmation.
    let refused = run(&["users", "role", "ada", "admin"]).await;
    assert!(refused.code == 1 && refused.err.contains("--yes"), "{refused:?}");
    let refused = run(&["backends", "drain", "alpha"]).await;
    assert!(refused.code == 1 && refused.err.contains("--yes"), "{refused:?}");
    let changed = run(&["users", "role", "ada", "admin", "--yes", "-o", "json"]).await;
    assert_eq!((changed.code, &parsed(&changed)["role"]), (0, &json!("admin")), "{changed:?}");
    assert_eq!(run(&["users", "role", "admin", "user", "--yes"]).await.code, 0);
    let forbidden = run(&["users", "list"]).await;
    assert!(forbidden.code == 3 && forbidden.err.contains("forbidden"), "{forbidden:?}");

    // With a token instead of the kept session.
    let token = [("DOCKHOST_TOKEN", ada.token().unwrap().to_owned())];
    let with_token = async |args: &[&str]| admin(&world, args, "", &token).await;
    let last = with_token(&["users", "role", "ada", "user", "--yes"]).await;
    assert!(last.code == 1 && last.err.contains("last_administrator"), "{last:?}");
    let disabled = with_token(&["users", "disable", "admin", "--reason", "Left.", "--yes", "-o", "json"]).await;
    let disabled = (disabled.code, parsed(&disabled));
    assert_eq!(
        (disabled.0, &disabled.1["state"], &disabled.1["disabledReason"]),
        (0, &json!("disabled"), &json!("Left."))
    );
    let login = admin(&world, &["login", "admin"], "battery staple\n", &[]).await;
    assert!(login.code == 1 && login.err.contains("Left. (account_disabled"), "{login:?}");
    let role = with_token(&["users", "role", "admin", "admin", "--yes"]).await;
    assert!(role.code == 1 && role.err.contains("account_disabled"), "{role:?}");
    let enabled = with_token(&["users", "enable", "admin", "--yes", "-o", "json"]).await;
    assert_eq!((enabled.code, &parsed(&enabled)["state"]), (0, &json!("active")), "{enabled:?}");
    let refused = with_token(&["users", "sign-out", "admin"]).await;
    assert!(refused.code == 1 && refused.err.contains("--yes"), "{refused:?}");
    assert_eq!(with_token(&["users", "sign-out", "admin", "--yes"]).await.code, 0);
    let reset = parsed(&with_token(&["users", "reset-password", "admin", "--yes", "-o", "json"]).await);
    let body = json!({ "token": reset["token"], "newPassword": "a new password" });
    assert_eq!(world.client(0).post("/api/v2/user/password/reset", body).await.status, 200);
    let login = admin(&world, &["login", "admin"], "a new password\n", &[]).await;
    assert!(login.code == 0 && login.out.contains("as admin (user)"), "{login:?}");
    let quota = parsed(&with_token(&["users", "quota", "ada", "--instances", "2", "--yes", "-o", "json"]).await);
    assert_eq!(pick(&quota, &["instances", "isDefault", "used"]), [json!(2), json!(false), json!(1)]);
    assert_eq!(parsed(&with_token(&["users", "quota", "ada", "-o", "json"]).await), quota);
    // What is not named stays.
    let set = ["users", "quota", "ada", "--cpu", "1.5", "--memory-mib", "4096", "--yes", "-o", "json"];
    let quota = parsed(&with_token(&set).await);
    assert_eq!(pick(&quota["set"], &["instances", "cpu", "memoryMib"]), [json!(2), json!(1.5), json!(4096)]);
    let lifted = ["users", "quota", "ada", "--cpu", "none", "--yes", "-o", "json"];
    let quota = parsed(&with_token(&lifted).await);
    assert_eq!(pick(&quota, &["instances", "cpu", "memoryMib"]), [json!(2), Value::Null, json!(4096)]);
    let default = parsed(&with_token(&["users", "quota", "ada", "--default", "--yes", "-o", "json"]).await);
    assert_eq!(default["isDefault"], true);
    let group = parsed(&with_token(&["groups", "create", "Biology 7b", "-o", "json"]).await);
    let changed = ["groups", "change", "Biology 7b", "--max-instances", "3", "--max-cpu", "2", "--time-to-live", "90"];
    let changed = parsed(&with_token(&[&changed[..], &["--yes", "-o", "json"]].concat()).await);
    assert_eq!(pick(&changed, &["maxInstances", "maxCpu", "maxMemoryMib"]), [json!(3), json!(2.0), Value::Null]);
    assert_eq!(changed["timeToLiveMinutes"], json!(90));
    let added = parsed(&with_token(&["groups", "add", "Biology 7b", "ada", "--yes", "-o", "json"]).await);
    assert_eq!(added["group"]["id"], group["id"]);
    let members = parsed(&with_token(&["users", "list", "--group", "Biology 7b", "-o", "json"]).await);
    assert_eq!((members.as_array().unwrap().len(), &members[0]["username"]), (1, &json!("ada")));
    let invited = ["invitations", "create", "--group", "Biology 7b", "-o", "json"];
    assert_eq!(parsed(&with_token(&invited).await)["invitation"]["groupId"], group["id"]);
    assert!(with_token(&["groups", "list"]).await.out.contains("Biology 7b"));
    let removed = parsed(&with_token(&["groups", "remove", "ada", "--yes", "-o", "json"]).await);
    assert_eq!(removed["group"], Value::Null);
    let deleted = with_token(&["groups", "delete", "Biology 7b", "--yes", "-o", "json"]).await;
    assert!(deleted.code == 1 && deleted.err.contains("group_not_empty"), "{deleted:?}");
    let create = ["invitations", "create", "--max-instances", "2", "--max-cpu", "1.5", "--max-memory-mib", "4096"];
    let invitation = parsed(&with_token(&[&create[..], &["-o", "json"]].concat()).await);
    let quota = pick(&invitation["invitation"], &["maxInstances", "maxCpu", "maxMemoryMib"]);
    assert_eq!(quota, [json!(2), json!(1.5), json!(4096)], "{invitation}");
    let id = invitation["invitation"]["id"].as_str().unwrap();
    assert_eq!(parsed(&with_token(&["invitations", "revoke", id, "-o", "json"]).await)["status"], "revoked");
    let invitations = with_token(&["invitations", "list"]).await;
    assert!(invitations.code == 0 && invitations.out.contains("revoked"), "{invitations:?}");
    let backends = with_token(&["backends", "list"]).await;
    assert!(backends.code == 0 && backends.out.contains("alpha"), "{backends:?}");
    let backend = parsed(&with_token(&["backends", "show", "alpha", "-o", "json"]).await);
    assert_eq!((&backend["username"], &backend["instances"]), (&json!("alpha"), &json!(1)));
    let instances =
        parsed(&with_token(&["instances", "list", "--user", "ada", "--backend", "alpha", "-o", "json"]).await);
    assert_eq!((instances.as_array().unwrap().len(), &instances[0]["owner"]["username"]), (1, &json!("ada")));
    let id = instances[0]["instanceId"].as_str().unwrap();
    let change = ["instances", "change", id, "--name", "shop", "--reason", "as you asked", "--yes", "-o", "json"];
    let changed = parsed(&with_token(&change).await);
    assert_eq!(pick(&changed, &["name", "status"]), [json!("shop"), json!("running")]);
    assert_eq!(changed["administrator"]["reason"], "as you asked");
    let stopped = with_token(&["instances", "stop", id, "--reason", "It mines coins.", "--yes", "-o", "json"]).await;
    let stopped = (stopped.code, parsed(&stopped));
    assert_eq!((stopped.0, &stopped.1["status"]), (0, &json!("stopped")), "{stopped:?}");
    assert_eq!(stopped.1["administrator"]["reason"], "It mines coins.");
    for (action, status) in [("resume", "running"), ("delete", "deleted")] {
        let changed = parsed(&with_token(&["instances", action, id, "--yes", "-o", "json"]).await);
        assert_eq!(changed["status"], status, "{changed}");
    }
    for (args, code) in [
        (&["users", "show", "nobody"][..], 4),
        (&["backends", "show", "0193b3a0-0000-7000-8000-000000000001"], 4),
        (&["instances", "list", "--status", "gone"], 1),
        (&["users", "role", "ada", "root", "--yes"], 2),
        (&["users", "list", "--server", "nonsense"], 2),
    ] {
        let output = with_token(args).await;
        assert_eq!(output.code, code, "{args:?}: {output:?}");
    }
    let nobody = format!("http://127.0.0.1:{}", ports::free());
    assert_eq!(with_token(&["users", "list", "--server", &nobody]).await.code, 5);

    let signed_out = run(&["logout"]).await;
    assert!(signed_out.code == 0 && signed_out.out.contains("signed out"), "{signed_out:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}");

    let refused = with_token(&["users", "erase", "admin"]).await;
    assert!(refused.code == 1 && refused.err.contains("--yes"), "{refused:?}");
    let erased = with_token(&["users", "erase", "admin", "--yes"]).await;
    assert!(erased.code == 0 && erased.out.contains("admin is erased"), "{erased:?}");
    assert_eq!(with_token(&["users", "show", "admin"]).await.code, 4);
    let last = with_token(&["users", "erase", "ada", "--yes"]).await;
    assert!(last.code == 1 && last.err.contains("last_administrator"), "{last:?}");
}

//! `dockhost` as people use it: from an account to instances, by the command line.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::harness::{CommandOutput, World, run_with_input};

/// Runs `dockhost` on a machine that has nothing yet but what earlier calls made.
async fn dockhost(world: &World, args: &[&str], input: &str) -> CommandOutput {
    let home = world.data.path().join("home");
    std::fs::create_dir_all(&home).unwrap();
    run_with_input(world.data.path(), args, &[("HOME", home.display().to_string())], input).await
}

async fn json_of(world: &World, args: &[&str]) -> Value {
    let output = dockhost(world, &[args, &["-o", "json"]].concat(), "").await;
    assert_eq!(output.code, 0, "{output:?}");
    serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test]
async fn user_command_goes_from_an_account_to_an_instance_and_back() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 10).await;
    let (url, home) = (world.replicas[0].url.clone(), world.data.path().join("home"));
    let run = async |args: &[&str]| dockhost(&world, args, "").await;

    let stranger = run(&["ls", "--server", &url]).await;
    assert!(stranger.code == 3 && stranger.err.contains("dockhost login"), "{stranger:?}");
    let signed_up = dockhost(&world, &["signup", &url, "ada", "ada@example.org"], "correct horse\n").await;
    assert!(signed_up.code == 0 && signed_up.out.contains("as ada (user)"), "{signed_up:?}");
    assert_eq!(run(&["logout"]).await.code, 0);
    let wrong = dockhost(&world, &["login", &url, "ada"], "wrong password\n").await;
    assert!(wrong.code == 1 && wrong.err.contains("invalid_credentials"), "{wrong:?}");
    let signed_in = dockhost(&world, &["login", &url, "ada"], "correct horse\n").await;
    assert_eq!(signed_in.code, 0, "{signed_in:?}");
    let sessions = home.join(".config/dockhost/sessions.json");
    assert_eq!(std::fs::metadata(&sessions).unwrap().mode() & 0o777, 0o600);

    // The account has no key, and this machine neither.
    let created = run(&["create", "--name", "web", "--memory", "256"]).await;
    assert!(created.code == 0 && created.out.contains("web is running on alpha"), "{created:?}");
    assert!(created.out.contains("dockhost ssh web"), "{created:?}");
    let key = std::fs::read_to_string(home.join(".ssh/id_ed25519.pub")).unwrap();
    assert_eq!(std::fs::metadata(home.join(".ssh")).unwrap().mode() & 0o777, 0o700);
    let keys = json_of(&world, &["keys", "ls"]).await;
    assert!(key.starts_with(keys[0]["sshPublicKey"].as_str().unwrap().split(' ').next().unwrap()), "{keys}");
    let second = run(&["create", "--name", "db", "--wait", "0"]).await;
    assert!(second.code == 0 && second.out.contains("db is "), "{second:?}");
    let taken = run(&["create", "--name", "web"]).await;
    assert!(taken.code == 1 && taken.err.contains("name_taken"), "{taken:?}");

    let table = run(&["ls"]).await;
    let row =
        table.out.lines().find(|line| line.trim_start().starts_with("web")).unwrap_or_else(|| panic!("{table:?}"));
    assert!(row.contains("running") && row.contains("256") && row.contains("ssh -p"), "{table:?}");
    assert_eq!(json_of(&world, &["ls"]).await[0]["name"], "web");

    let stopped = run(&["stop", "web", "db"]).await;
    assert_eq!((stopped.code, stopped.out.as_str()), (0, "web is stopped\ndb is stopped\n"), "{stopped:?}");
    let closed = run(&["ssh", "web", "--", "true"]).await;
    assert!(closed.code == 1 && closed.err.contains("dockhost resume web"), "{closed:?}");
    assert_eq!(json_of(&world, &["resume", "web"]).await[0]["status"], json!("running"));

    let nothing = run(&["change", "web"]).await;
    assert_eq!(nothing.code, 2, "{nothing:?}");
    let taken = run(&["change", "web", "--name", "db"]).await;
    assert!(taken.code == 1 && taken.err.contains("name_taken"), "{taken:?}");
    let shop = json_of(&world, &["change", "web", "--name", "shop", "--autostop", "60"]).await;
    assert_eq!((&shop["name"], &shop["autostopMinutes"], &shop["generation"]), (&json!("shop"), &json!(60), &json!(3)));
    let history = run(&["history", "shop"]).await;
    assert!(
        history.code == 0 && history.out.contains("settings-changed") && history.out.contains("shop"),
        "{history:?}"
    );
    let web = json_of(&world, &["change", "shop", "--name", "web", "--autostop", "none"]).await;
    assert_eq!((&web["name"], &web["autostopMinutes"]), (&json!("web"), &Value::Null));

    let history = run(&["history", "web"]).await;
    assert!(history.code == 0 && history.out.contains("stop-requested"), "{history:?}");
    let none = run(&["history", "../../admin/users"]).await;
    assert!(none.code == 1 && none.err.contains("neither a name nor an id"), "{none:?}");
    assert_eq!(run(&["history", "nothing"]).await.code, 4);

    let refused = run(&["rm", "web"]).await;
    assert!(refused.code == 1 && refused.err.contains("--yes"), "{refused:?}");
    let removed = run(&["rm", "--yes", "web", "db"]).await;
    assert_eq!((removed.code, removed.out.as_str()), (0, "web is deleted\ndb is deleted\n"), "{removed:?}");
    assert_eq!(json_of(&world, &["ls"]).await, json!([]));

    let name = keys[0]["name"].as_str().unwrap();
    assert_eq!(run(&["keys", "rm", name]).await.code, 0);
    assert_eq!(run(&["keys", "rm", name]).await.code, 4);
    assert_eq!(json_of(&world, &["keys", "ls"]).await, json!([]));

    let added = json_of(&world, &["webhooks", "add", "https://example.org/hook"]).await;
    assert!(added["signingSecret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{added}");
    let id = added["webhook"]["id"].as_str().unwrap();
    assert_eq!(json_of(&world, &["webhooks", "ls"]).await[0]["id"], id);
    assert_eq!(run(&["webhooks", "rm", id]).await.code, 0);
    assert_eq!(run(&["webhooks", "rm", id]).await.code, 4);
    let refused = run(&["webhooks", "add", "http://127.0.0.1/"]).await;
    assert!(refused.code == 1 && refused.err.contains("validation_failed"), "{refused:?}");
}

#[tokio::test]
async fn config_ssh_writes_and_removes_its_block_only() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 10).await;
    let url = world.replicas[0].url.clone();
    let signed_up = dockhost(&world, &["signup", &url, "ada", "ada@example.org"], "correct horse\n").await;
    assert_eq!(signed_up.code, 0, "{signed_up:?}");
    assert_eq!(dockhost(&world, &["create", "--name", "web"], "").await.code, 0);
    let config = world.data.path().join("home/.ssh/config");
    let own = "Host other\n    User eve\n";
    std::fs::write(&config, own).unwrap();
    let written = dockhost(&world, &["config-ssh"], "").await;
    assert!(written.code == 0 && written.out.contains("web.dockhost"), "{written:?}");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("Host web.dockhost\n") && text.ends_with(own), "{text}");
    assert_eq!(dockhost(&world, &["config-ssh"], "").await.code, 0);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), text, "again");
    assert_eq!(dockhost(&world, &["config-ssh", "--remove"], "").await.code, 0);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), own);
}

#[tokio::test]
async fn completions_and_manual_pages_name_the_commands() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run_with_input(directory.path(), &["completions", shell], &[], "").await;
        assert!(output.code == 0 && output.out.contains("config-ssh"), "{shell}: {output:?}");
    }
    let pages = directory.path().join("man");
    let output = run_with_input(directory.path(), &["man", pages.to_str().unwrap()], &[], "").await;
    assert_eq!(output.code, 0, "{output:?}");
    for page in ["dockhost.1", "dockhost-create.1", "dockhost-admin-users-list.1"] {
        assert!(pages.join(page).is_file(), "{page}");
    }
}

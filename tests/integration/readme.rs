//! The walk of README.md from a first machine to its removal, word for word but for the addresses.

use serde_json::{Value, json};

use crate::harness::http::SSH_KEY;
use crate::harness::{World, program, run_script};

const README: &str = include_str!("../../README.md");
const HEADING: &str = "## Run it for others\n";
const PASSWORD: &str = "battery staple";
/// What `make run` is started with there, and the administrator that it makes.
const SETTINGS: [(&str, &str); 4] = [
    ("DOCKHOST_ENROLMENT", "approval"),
    ("DOCKHOST_SIGNUP", "invite"),
    ("DOCKHOST_ADMIN_USERNAME", "admin"),
    ("DOCKHOST_ADMIN_PASSWORD", PASSWORD),
];

/// The blocks of commands in the section.
fn blocks() -> Vec<&'static str> {
    let (_, section) = README.split_once(HEADING).unwrap();
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    section.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn readme_walk_of_an_administrator_works_word_for_word() {
    let [start, walk] = blocks()[..] else { panic!("{:?}", blocks()) };
    for (name, value) in &SETTINGS[..2] {
        assert!(start.contains(&format!("{name}={value}")), "{start}");
    }
    let world = World::with(1, &SETTINGS).await;
    let home = world.data.path().join("home");
    std::fs::create_dir_all(home.join(".ssh")).unwrap();
    std::fs::create_dir_all(home.join(".dockhost")).unwrap();
    std::fs::write(home.join(".dockhost/admin-password"), PASSWORD).unwrap();
    std::fs::write(home.join(".ssh/id_ed25519.pub"), format!("{SSH_KEY}\n")).unwrap();
    let programs = program("dockhost").parent().unwrap().display().to_string();
    let replacements = [
        ("$PWD/target/debug", &programs),
        ("http://127.0.0.1:3001", &world.replicas[0].url),
        ("nats://127.0.0.1:4222", &world.nats.url()),
    ];
    let script = replacements.into_iter().fold(walk.to_owned(), |script, (documented, own)| {
        assert!(script.contains(documented), "{documented} is not in {script}");
        script.replace(documented, own)
    });
    let env = [
        ("HOME", home.display().to_string()),
        ("DOCKHOST_RUNTIME", "simulated".to_owned()),
        ("LAN_IP", "127.0.0.1".to_owned()),
        ("DOCKHOST_STATE_DIR", home.join("agent").display().to_string()),
    ];
    // The agent goes on after the walk.
    let script = format!("trap 'kill %1' EXIT\n{script}");
    let walked = run_script(&home, &script, &env, "").await;
    assert_eq!(walked.code, 0, "{walked:?}");
    for expected in ["pending", "\"status\":\"running\"", "grace-container", "workshop", "backend.removed.v1"] {
        assert!(walked.out.contains(expected), "{expected} is not in: {}\n{}", walked.out, walked.err);
    }

    // The person reads what became of the instance.
    let signed_in = json!({ "username": "grace", "password": "correct horse" });
    let signed_in = world.client(0).post("/api/v2/user/signin", signed_in).await;
    let grace = world.client(0).with_token(signed_in.data()["accessToken"].as_str().unwrap());
    let list = grace.get("/api/v2/user/instance").await;
    let left: Vec<&Value> = list.data().as_array().unwrap().iter().collect();
    assert!(left.iter().all(|instance| instance["status"] != "running"), "{left:?}");
    world.verify().await;
    world.check_log().await;
}

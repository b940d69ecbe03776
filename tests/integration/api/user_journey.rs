//! What a user does: sign up, create, stop, resume and delete an instance, on a simulated backend.

use serde_json::json;

use crate::harness::World;

#[tokio::test]
async fn user_creates_stops_resumes_and_deletes_an_instance() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let created = ada.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let instance = created.data();
    assert_eq!(instance["status"], "running");
    assert_eq!(instance["name"], "ada-container");
    let port = instance["sshPort"].as_u64().unwrap();
    assert_eq!(instance["sshDetails"]["command"], format!("ssh -p {port} root@127.0.0.1"));
    let which = json!({ "instanceId": instance["instanceId"] });

    let listed = ada.get("/api/v2/user/instance").await;
    assert_eq!(listed.data()[0], *instance, "POST and GET give the same document");

    let stopped = ada.put("/api/v2/user/instance/stop", which.clone()).await;
    assert_eq!((stopped.status, &stopped.data()["status"]), (200, &json!("stopped")), "{stopped:?}");
    let again = ada.put("/api/v2/user/instance/stop", which.clone()).await;
    assert_eq!((again.status, &again.data()["generation"]), (200, &json!(2)), "a repeated stop changes nothing");

    let resumed = ada.put("/api/v2/user/instance/resume", json!({ "instanceId": "ada-container" })).await;
    assert_eq!((resumed.status, &resumed.data()["status"]), (200, &json!("running")), "{resumed:?}");
    assert_eq!(resumed.data()["sshPort"], port, "resume keeps the port");
    assert_eq!(resumed.data()["containerId"], instance["containerId"], "resume keeps the container");

    let deleted = ada.delete("/api/v2/user/instance", which.clone()).await;
    assert_eq!((deleted.status, &deleted.data()["status"]), (200, &json!("deleted")), "{deleted:?}");
    assert_eq!(ada.get("/api/v2/user/instance").await.data(), &json!([]));
    let missing = ada.get(&format!("/api/v2/user/instance/{}", instance["instanceId"].as_str().unwrap())).await;
    assert_eq!((missing.status, missing.code()), (404, "not_found"));
    assert_eq!(
        ada.delete("/api/v2/user/instance", which).await.status,
        200,
        "a repeated DELETE of a known id succeeds"
    );
}

#[tokio::test]
async fn sign_up_repeated_with_its_key_and_password_returns_the_same_user() {
    let world = World::start(1).await;
    let client = world.client(0);
    let sign_up = async |password: &str, key: &str| {
        let body = json!({ "username": "ada", "email": "ada@example.org", "password": password });
        client.json(reqwest::Method::POST, "/api/v2/user/signup", &[("idempotency-key", key)], body).await
    };
    let first = sign_up("correct horse", "k1").await;
    let again = sign_up("correct horse", "k1").await;
    assert_eq!((first.status, again.status), (201, 201), "{again:?}");
    assert_eq!(first.data()["user"], again.data()["user"]);
    for (password, key) in [("battery staple", "k1"), ("correct horse", "k2")] {
        let refused = sign_up(password, key).await;
        assert_eq!((refused.status, refused.code()), (409, "username_taken"), "{password} {key}");
    }
}

//! The API over TLS, with certificates that the test brings.

use std::path::Path;

use crate::harness::http::SSH_KEY;
use crate::harness::{World, run};
use serde_json::json;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/api/tls");

fn path(name: &str) -> String {
    let path = format!("{FOLDER}/{name}");
    assert!(Path::new(&path).exists());
    path
}

/// A client that trusts this certificate only.
fn client(certificate: &str) -> reqwest::Client {
    dockhost::common::install_crypto();
    let pem = std::fs::read(path(certificate)).unwrap();
    let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
    reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap()
}

#[tokio::test]
async fn tls_certificate_is_served_and_cookies_are_secure() {
    let settings = [("DOCKHOST_TLS_CERT", path("first.crt")), ("DOCKHOST_TLS_KEY", path("first.key"))];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let world = World::with(1, &settings).await;
    let url = &world.replicas[0].url;
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let health = client("first.crt").get(format!("{url}/health")).send().await.unwrap();
    assert_eq!(health.status(), 200);
    client("second.crt").get(format!("{url}/health")).send().await.expect_err("an unknown certificate was accepted");
    let plain = reqwest::get(format!("{}/health", url.replace("https", "http"))).await;
    plain.expect_err("plain HTTP was answered");

    let body = json!({
        "username": "ada", "email": "ada@example.org", "password": "correct horse", "sshPublicKey": SSH_KEY,
    });
    let request = client("first.crt").post(format!("{url}/api/v2/user/signup")).body(body.to_string());
    let answer = request.header("content-type", "application/json").send().await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(answer.status() == 201 && cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn tls_invalid_files_are_refused_at_start() {
    let world = World::start(0).await;
    for (certificate, key, problem) in [
        (path("first.crt"), path("second.key"), "don't fit together"),
        (path("first.crt"), String::new(), "DOCKHOST_TLS_CERT and DOCKHOST_TLS_KEY need each other"),
    ] {
        let mut env = world.server_env();
        env.extend([("DOCKHOST_TLS_CERT", certificate), ("DOCKHOST_TLS_KEY", key)]);
        let output = run(world.data.path(), &["serve"], &env).await;
        assert!(output.code == 2 && output.err.contains(problem), "{output:?}");
    }
}

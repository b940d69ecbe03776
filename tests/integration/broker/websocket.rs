//! Agents on machines that reach only HTTP(S): the broker's protocol over WebSocket, plainly and behind the load balancer of
//! `deploy/haproxy-tls.cfg`.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use dockhost::dev::process::{Child, Program};
use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::balancer::find_on_path;
use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{Nats, World, ports, wait_until};
use crate::structure::root;

/// A world with one replica and the agent of `alpha`, which knows only this URL of the broker.
async fn world(nats: Nats, url: &str, settings: &[(&'static str, &str)]) -> World {
    let mut world = World::upon(nats, 1, &[]).await;
    let agent = world.register("alpha", 5).await;
    let settings = [&[("NATS_URL", url)], settings].concat();
    world.start_agent(agent, &settings);
    world.wait_for_backend("alpha", "connected").await;
    world
}

/// Changes an instance until the answer is 200: while connections are restored, commands are refused.
async fn change(user: &Client, what: &str) {
    wait_until(&format!("{what} is carried out"), 3 * DEADLINE, async || {
        let answer = user.put(&format!("/api/v2/user/instance/{what}"), json!({ "instanceId": "web" })).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

#[tokio::test]
async fn agent_over_websocket_carries_out_commands_also_after_the_broker_restarts() {
    let (nats, url) = Nats::with_websocket().await;
    let mut world = world(nats, &url, &[]).await;
    let ada = world.user("ada").await;
    let created = ada.post("/api/v2/user/instance", json!({ "name": "web" })).await;
    assert_eq!((created.status, &created.data()["status"]), (201, &json!("running")), "{created:?}");
    change(&ada, "stop").await;
    world.nats.restart_node(0).await;
    change(&ada, "resume").await;
    let log = world.agent_log(0);
    assert!(log.contains("lost the connection to the broker"), "{log}");
    world.check_log().await;
}

#[tokio::test]
async fn websocket_of_another_origin_is_refused() {
    let (_nats, url) = Nats::with_websocket().await;
    let url = url.replace("ws://", "http://");
    let http = reqwest::Client::new();
    for (origin, status) in [(None, 101), (Some("https://elsewhere.example.org"), 403)] {
        let mut upgrade = http.get(&url).header("connection", "Upgrade").header("upgrade", "websocket");
        upgrade = upgrade.header("sec-websocket-version", "13").header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
        if let Some(origin) = origin {
            upgrade = upgrade.header("origin", origin);
        }
        assert_eq!(upgrade.send().await.unwrap().status(), status, "{origin:?}");
    }
}

/// The load balancer ends TLS and forwards `/nats` to the broker.
#[tokio::test]
async fn agent_behind_the_load_balancer_connects_with_tls() {
    let Some(program) = find_on_path("haproxy") else {
        eprintln!("not tested: haproxy is not installed");
        return;
    };
    let (nats, url) = Nats::with_websocket().await;
    let directory = tempfile::tempdir().unwrap();
    let (_haproxy, port) = haproxy(program, directory.path(), url.trim_start_matches("ws://")).await;
    let certificate = root().join("tests/integration/api/tls/first.crt");
    let url = format!("wss://127.0.0.1:{port}/nats");
    let world = world(nats, &url, &[("SSL_CERT_FILE", certificate.to_str().unwrap())]).await;
    let ada = world.user("ada").await;
    assert_eq!(ada.post("/api/v2/user/instance", json!({ "name": "web" })).await.status, 201);
    change(&ada, "stop").await;
}

/// haproxy with the repository's two files, with the addresses of this test in place of those of `docker-compose.yml`.
async fn haproxy(path: PathBuf, directory: &Path, broker: &str) -> (Child, u16) {
    let (plain, https, http) = (ports::free(), ports::free(), ports::free());
    let tls = root().join("tests/integration/api/tls");
    let pair = ["first.crt", "first.key"].map(|name| std::fs::read_to_string(tls.join(name)).unwrap()).concat();
    let certificate = directory.join("site.pem");
    std::fs::write(&certificate, pair).unwrap();
    let certificate = certificate.display().to_string();
    let replacements = [
        ("bind :3001", format!("bind 127.0.0.1:{plain}")),
        ("bind :80", format!("bind 127.0.0.1:{http}")),
        ("bind :443", format!("bind 127.0.0.1:{https}")),
        ("/etc/haproxy/site.pem", certificate),
        (" nats-1:8080", format!(" {broker}")),
    ];
    let mut args: Vec<OsString> = vec!["-db".into()];
    for name in ["haproxy.cfg", "deploy/haproxy-tls.cfg"] {
        let mut text = std::fs::read_to_string(root().join(name)).unwrap();
        for (from, to) in &replacements {
            text = text.replace(from, to);
        }
        let file = directory.join(Path::new(name).file_name().unwrap());
        std::fs::write(&file, text).unwrap();
        args.extend(["-f".into(), file.into()]);
    }
    let program = Program { name: "haproxy", path, args, env: vec![], log: directory.join("haproxy.log") };
    let mut haproxy = program.start().unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, https));
    haproxy.wait_until_ready(DEADLINE, async |_| TcpStream::connect(address).await.ok()).await.unwrap();
    (haproxy, https)
}

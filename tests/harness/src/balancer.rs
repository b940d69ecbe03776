//! A load balancer before replicas, with the health checks and keep-alive pools of the repository's `haproxy.cfg`: haproxy
//! itself where it is installed, else one in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use dockhost::dev::process::{Child, Program};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::wait::DEADLINE;
use super::{ports, wait_until};

/// Checks in a row that must fail before a replica gets no more requests; as in `haproxy.cfg`.
const FALL: usize = 2;
const MAX_BODY: usize = 1 << 20;

/// A running load balancer.
pub struct Balancer {
    pub url: String,
    /// What runs: `haproxy` or `in-process`.
    pub kind: &'static str,
    _haproxy: Option<Child>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Balancer {
    /// Starts one before these replicas; it checks each at this interval. haproxy keeps its files in `directory`.
    pub async fn start(replicas: &[String], interval: Duration, directory: &Path) -> Self {
        match find_on_path("haproxy") {
            Some(program) => Self::haproxy(program, replicas, interval, directory).await,
            None => Self::in_process(replicas, interval).await,
        }
    }

    async fn haproxy(path: std::path::PathBuf, replicas: &[String], interval: Duration, directory: &Path) -> Self {
        let port = ports::free();
        let file = directory.join("haproxy.cfg");
        std::fs::write(&file, configuration(port, replicas, interval)).unwrap();
        let (log, args) = (directory.join("haproxy.log"), vec!["-f".into(), file.into()]);
        let mut haproxy = Program { name: "haproxy", path, args, env: vec![], log }.start().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        haproxy.wait_until_ready(DEADLINE, async |_| TcpStream::connect(address).await.ok()).await.unwrap();
        Self { url: format!("http://{address}"), kind: "haproxy", _haproxy: Some(haproxy), _tasks: vec![] }
    }

    async fn in_process(replicas: &[String], interval: Duration) -> Self {
        dockhost::common::install_crypto();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let backends: Vec<_> = replicas.iter().map(|url| Arc::new(Backend::new(url))).collect();
        let mut tasks: Vec<_> =
            backends.iter().map(|backend| spawn(check_health(Arc::clone(backend), interval))).collect();
        let proxy = Arc::new(InProcess { backends, client: reqwest::Client::new(), next: AtomicUsize::new(0) });
        let router = Router::new().fallback(forward).with_state(Arc::clone(&proxy));
        tasks.push(spawn(async move { axum::serve(listener, router).await.unwrap() }));
        wait_until("a replica is healthy", DEADLINE, async || proxy.choose(&[]).map(drop).ok_or("none")).await;
        Self { url, kind: "in-process", _haproxy: None, _tasks: tasks }
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

pub fn find_on_path(name: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The repository's configuration, for these replicas.
fn configuration(port: u16, replicas: &[String], interval: Duration) -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../haproxy.cfg")).unwrap();
    let servers = replicas.iter().enumerate().map(|(n, url)| format!("    server replica-{n} {}\n", &url[7..]));
    let servers: String = servers.collect();
    let mut configuration = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            // The addresses don't come from Docker's name server.
            ["resolvers" | "nameserver" | "hold", ..] => {}
            ["server", "server-1", ..] => configuration.push_str(&servers),
            ["server", ..] => {}
            ["bind", _] => configuration.push_str(&format!("    bind 127.0.0.1:{port}\n")),
            ["default-server", "check", "inter", configured, ..] => {
                let line = line.replace(configured, &format!("{}ms", interval.as_millis()));
                configuration.push_str(line.split(" resolvers").next().unwrap());
                configuration.push('\n');
            }
            ["default-server", ..] => {}
            _ => {
                configuration.push_str(line);
                configuration.push('\n');
            }
        }
    }
    configuration
}

/// A replica, as the balancer in this process sees it.
struct Backend {
    url: String,
    healthy: AtomicBool,
}

struct InProcess {
    backends: Vec<Arc<Backend>>,
    /// Keeps connections to the replicas open.
    client: reqwest::Client,
    next: AtomicUsize,
}

impl Backend {
    fn new(url: &str) -> Self {
        Self { url: url.to_owned(), healthy: AtomicBool::new(false) }
    }
}

impl InProcess {
    /// The next healthy replica in turn, but for those in `except`.
    fn choose(&self, except: &[String]) -> Option<&str> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.backends.len();
        let turn = (0..count).map(|n| &self.backends[(first + n) % count]);
        let mut chosen =
            turn.filter(|backend| backend.healthy.load(Ordering::Relaxed) && !except.contains(&backend.url));
        chosen.next().map(|backend| backend.url.as_str())
    }
}

async fn check_health(backend: Arc<Backend>, interval: Duration) {
    // Each check has a connection of its own, as with haproxy.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(interval * 10).build().unwrap();
    let (url, mut failures) = (format!("{}/health", backend.url), 0);
    loop {
        let is_up = client.get(&url).send().await.is_ok_and(|answer| answer.status() == StatusCode::OK);
        failures = if is_up { 0 } else { failures + 1 };
        if is_up || failures >= FALL {
            backend.healthy.store(is_up, Ordering::Relaxed);
        }
        tokio::time::sleep(interval).await;
    }
}

/// Forwards a request. Like haproxy's `retry-on conn-failure`, it tries another replica only if none was reached.
async fn forward(State(proxy): State<Arc<InProcess>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await.unwrap();
    for name in [header::CONNECTION, header::HOST, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    let mut tried = Vec::new();
    while let Some(url) = proxy.choose(&tried) {
        let target = format!("{url}{}", parts.uri);
        let attempt = proxy.client.request(parts.method.clone(), target).headers(parts.headers.clone());
        match attempt.body(body.clone()).send().await {
            Ok(answer) => {
                let (status, mut headers) = (answer.status(), answer.headers().clone());
                headers.remove(header::CONNECTION);
                headers.remove(header::TRANSFER_ENCODING);
                return match answer.bytes().await {
                    Ok(body) => (status, headers, Body::from(body)).into_response(),
                    Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
                };
            }
            Err(error) if error.is_connect() => tried.push(url.to_owned()),
            Err(error) => return (StatusCode::BAD_GATEWAY, format!("{error:?}")).into_response(),
        }
    }
    (StatusCode::SERVICE_UNAVAILABLE, "no replica is healthy").into_response()
}

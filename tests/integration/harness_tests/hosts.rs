//! Hosts of their own. On a machine that permits none, each test says what it lacks and checks nothing.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dockhost::dev::process::{Child, Program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::hosts::{self, Host, Hosts, Traffic, disturb, slow_down};
use crate::harness::wait_until;

const DEADLINE: Duration = Duration::from_secs(20);
const PORT: u16 = 8080;

/// Prints what a test lacks.
fn lacks(reason: Option<&String>) -> bool {
    if let Some(reason) = reason {
        println!("not tested: {reason}");
    }
    reason.is_some()
}

fn python(host: &Host, directory: &std::path::Path, script: &str) -> Child {
    let args = vec!["-c".into(), script.into()];
    let log = directory.join(format!("{}.log", host.name));
    host.place_with_clock(Program { name: "python", path: "python3".into(), args, env: vec![], log }).start().unwrap()
}

async fn connects(address: SocketAddr) -> bool {
    tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await.is_ok_and(|done| done.is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_link_cut_in_one_direction_carries_nothing_until_restored() {
    let hosts = Hosts::prepare();
    if lacks(hosts.missing().networks.as_ref()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, clients) = (hosts.add("server"), hosts.clients());
    let listen = format!("import http.server as h; h.test(h.BaseHTTPRequestHandler, port={PORT})");
    let _child = python(&server, directory.path(), &listen);
    let address = SocketAddr::from((server.address(), PORT));
    let up = async || if connects(address).await { Ok(()) } else { Err("no connection") };
    wait_until("the server is reached", DEADLINE, up).await;
    for (from, to) in [(&clients, &server), (&server, &clients)] {
        let rule = disturb(from, to, Traffic::Cut).unwrap();
        assert!(!connects(address).await, "{} to {} is not cut", from.name, to.name);
        assert!(rule.dropped() > 0);
        rule.remove().unwrap();
        wait_until("the server is reached again", DEADLINE, up).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_link_between_two_hosts_cut_carries_nothing_until_restored() {
    let hosts = Hosts::prepare();
    if lacks(hosts.missing().networks.as_ref()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (server, client) = (hosts.add("server"), hosts.add("client"));
    let listen = format!("import http.server as h; h.test(h.BaseHTTPRequestHandler, port={PORT})");
    let _server = python(&server, directory.path(), &listen);
    let connect = format!(
        "import select, socket
while True:
    try: socket.create_connection((\"{}\", {PORT}), 0.3).close(); print(\"reached\", flush=True)
    except OSError as error: print(error, flush=True)
    select.select([], [], [], 0.1)",
        server.address()
    );
    let _client = python(&client, directory.path(), &connect);
    let log = directory.path().join("client.log");
    let last = async |wanted: &str| {
        wait_until(wanted, DEADLINE, async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let last = text.lines().last().unwrap_or_default().to_owned();
            if last == wanted { Ok(()) } else { Err(last) }
        })
        .await;
    };
    last("reached").await;
    let rule = disturb(&client, &server, Traffic::Cut).unwrap();
    last("timed out").await;
    // The others still reach the server.
    assert!(connects(SocketAddr::from((server.address(), PORT))).await);
    rule.remove().unwrap();
    last("reached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_slow_host_answers_later_until_restored() {
    let hosts = Hosts::prepare();
    if lacks(hosts.missing().delays.as_ref()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = hosts.add("server");
    // Answers with as many bytes as it got, on connections that stay open.
    let answer = format!(
        "import socketserver
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while received := self.request.recv(1 << 20): self.request.sendall(received)
socketserver.ThreadingTCPServer(('', {PORT}), Handler).serve_forever()"
    );
    let _child = python(&server, directory.path(), &answer);
    let address = SocketAddr::from((server.address(), PORT));
    wait_until(
        "the server is reached",
        DEADLINE,
        async || {
            if connects(address).await { Ok(()) } else { Err("no connection") }
        },
    )
    .await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    // More than one packet, and one that the kernel divides late.
    let mut exchange = async || {
        let (sent, begun) = (vec![7; 200_000], Instant::now());
        let mut received = vec![0; sent.len()];
        let (reader, writer) = &mut connection.split();
        let done = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
        assert!(done.0.is_ok() && done.1.is_ok() && sent == received);
        begun.elapsed()
    };
    let (sent, received) = (Duration::from_millis(200), Duration::from_millis(300));
    let delay = slow_down(&server, sent, received).await.unwrap();
    // The open connection is slow too.
    assert!(exchange().await >= sent + received);
    assert!(delay.delayed() > 0);
    delay.end().await.unwrap();
    wait_until("the host is fast again", DEADLINE, async || {
        let took = exchange().await;
        if took < sent + received { Ok(()) } else { Err(format!("{took:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_disk_power_cut_loses_what_was_not_synced() {
    let hosts = Hosts::prepare();
    if lacks(hosts.missing().disks.as_ref()) {
        return;
    }
    let store = hosts.add("server").store(&std::env::temp_dir());
    let disk = store.disk.as_ref().unwrap();
    let mut synced = std::fs::File::create(store.path.join("synced")).unwrap();
    synced.write_all(b"kept").unwrap();
    synced.sync_all().unwrap();
    std::fs::File::open(&store.path).unwrap().sync_all().unwrap();
    std::fs::write(store.path.join("unsynced"), b"lost").unwrap();
    drop(synced);
    disk.lose_unsynced().unwrap();
    assert_eq!(std::fs::read(store.path.join("synced")).unwrap(), b"kept");
    assert!(!std::fs::read(store.path.join("unsynced")).is_ok_and(|bytes| bytes == b"lost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_disk_filled_takes_nothing_until_freed() {
    let hosts = Hosts::prepare();
    if lacks(hosts.missing().disks.as_ref()) {
        return;
    }
    let store = hosts.add("server").store(&std::env::temp_dir());
    let disk = store.disk.as_ref().unwrap();
    disk.fill();
    assert!(std::fs::write(store.path.join("more"), vec![1; 100_000]).is_err());
    disk.free();
    std::fs::write(store.path.join("more"), vec![1; 100_000]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_clock_offset_changes_while_a_process_runs() {
    let hosts = Hosts::prepare();
    if lacks(hosts.missing().clocks.as_ref()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let host = hosts.add("server");
    // Not `time.sleep`: libfaketime breaks the system call that it uses.
    let script = "import select, time\nwhile True: print(int(time.time()), int(time.monotonic()), flush=True); select.select([], [], [], 0.2)";
    let _child = python(&host, directory.path(), script);
    let offset = async || {
        let log = std::fs::read_to_string(directory.path().join("server.log")).unwrap_or_default();
        let last = log.lines().last().and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
        last.map(|seconds| seconds - dockhost::common::clock::now().millis() / 1000).ok_or("no output")
    };
    for seconds in [0, 300, -31] {
        host.clock().unwrap().set_offset(seconds);
        wait_until("the process has the offset", DEADLINE, async || {
            let offset = offset().await.map_err(ToOwned::to_owned)?;
            if (offset - seconds).abs() <= 2 { Ok(()) } else { Err(format!("{offset} s")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_dropped_leave_nothing_behind() {
    let hosts = Hosts::prepare();
    let (server, directory) = (hosts.add("server"), tempfile::tempdir().unwrap());
    let store = server.store(&directory.path().join("store"));
    let number = hosts.number();
    drop((store, server, hosts));
    // Another test may have the number by now.
    let Some(_lock) = hosts::lock(number) else { return };
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(&format!("{}/", hosts::directory(number).display())), "{mounts}");
    assert!(!std::path::Path::new(&format!("/sys/class/net/dh{number}")).exists());
    let namespaces = std::fs::read_dir("/run/netns").into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let own = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(&format!("dh{number}-"));
    assert_eq!(namespaces.collect::<Vec<_>>().iter().find(|name| own(name)), None);
}

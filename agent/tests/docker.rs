//! The agent on a real engine: from an assignment to a login with `ssh`, and the engine's errors.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dockhost_agent::capacity::Capacity;
use dockhost_agent::confirm::Confirmer;
use dockhost_agent::connect::RequestError;
use dockhost_agent::container::Container;
use dockhost_agent::reconcile::{ReconcileConfig, Reconciler};
use dockhost_agent::reports::{Outbox, PublishError, ReportSink};
use dockhost_agent::runtime::docker::{self, DockerRuntime};
use dockhost_agent::runtime::{Runtime, RuntimeError};
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::wire::{
    Assignment, AuthorizedKeys, ContainerEnd, ContainerSpec, DesiredState, IsolationState, Limits, Observation, Phase,
    Report, ReportKind, RestartPolicy,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[path = "../../tests/engine/mod.rs"]
mod engine;

use engine::{Engine, TEST_IMAGE};

const BACKEND: BackendId = BackendId::from_uuid(Uuid::from_u128(0xb));
const REPORT_TIMEOUT: Duration = Duration::from_secs(60);

/// Collects the reports.
#[derive(Clone, Default)]
struct ReportCollector(Arc<(Mutex<Vec<Report>>, Notify)>);

impl ReportSink for ReportCollector {
    async fn send(&self, report: &Report, _message_id: &str) -> Result<(), PublishError> {
        self.0.0.lock().unwrap().push(report.clone());
        self.0.1.notify_one();
        Ok(())
    }
}

/// Confirms every assignment.
struct AlwaysCurrent;

impl Confirmer for AlwaysCurrent {
    fn is_current<'a>(&'a self, _: &'a Assignment) -> BoxFuture<'a, Result<bool, RequestError>> {
        std::future::ready(Ok(true)).boxed()
    }
}

/// An agent without a broker; the test passes the assignments.
struct Agent {
    reports: ReportCollector,
    reconciler: Reconciler<DockerRuntime>,
    stop: CancellationToken,
}

impl Agent {
    async fn start(engine: &Engine, ports: &str, image: &str) -> Self {
        Self::with_resync(engine, ports, image, Duration::from_millis(200)).await
    }

    async fn with_resync(engine: &Engine, ports: &str, image: &str, resync_interval: Duration) -> Self {
        Self::of(runtime(engine, ports, image).await, resync_interval)
    }

    fn of(runtime: DockerRuntime, resync_interval: Duration) -> Self {
        let (reports, outbox, stop) = (ReportCollector::default(), Outbox::default(), CancellationToken::new());
        let config = ReconcileConfig { resync_interval, ..ReconcileConfig::default() };
        let capacity = Arc::new(Capacity::new(10, None));
        let reconciler =
            Reconciler::new(runtime, capacity, AlwaysCurrent, outbox.clone(), Arc::default(), config, stop.clone());
        let (sink, until, ticking) = (reports.clone(), stop.clone(), reconciler.clone());
        tokio::spawn(async move { outbox.run(&sink, &until).await });
        tokio::spawn(async move { ticking.run().await });
        let watching = reconciler.clone();
        tokio::spawn(async move { watching.watch_engine().await });
        Self { reports, reconciler, stop }
    }

    /// Assigns, and waits for a report for which `passes` is true.
    async fn assign(&self, assignment: &Assignment, passes: impl Fn(&Report) -> bool) -> Report {
        self.reports.0.0.lock().unwrap().clear();
        self.reconciler.assign(assignment.clone());
        self.wait_for_report(passes).await
    }

    async fn wait_for_report(&self, passes: impl Fn(&Report) -> bool) -> Report {
        let wait = async {
            loop {
                let found = self.reports.0.0.lock().unwrap().iter().find(|report| passes(report)).cloned();
                if let Some(report) = found {
                    return report;
                }
                self.reports.0.1.notified().await;
            }
        };
        match tokio::time::timeout(REPORT_TIMEOUT, wait).await {
            Ok(report) => report,
            Err(_) => panic!("expected report missing; received: {:#?}", self.reports.0.0.lock().unwrap()),
        }
    }

    async fn running(&self, assignment: &Assignment) -> Observation {
        observation(self.assign(assignment, |report| is(report, Phase::Running)).await)
    }

    async fn stopped(&self, assignment: &Assignment) -> Observation {
        observation(self.assign(assignment, |report| is(report, Phase::Stopped)).await)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn is(report: &Report, phase: Phase) -> bool {
    matches!(&report.kind, ReportKind::InstanceStatus(observation) if observation.phase == phase)
}

fn observation(report: Report) -> Observation {
    match report.kind {
        ReportKind::InstanceStatus(observation) => observation,
        other => panic!("{other:?}"),
    }
}

async fn runtime(engine: &Engine, ports: &str, image: &str) -> DockerRuntime {
    runtime_with_keys(engine, ports, image, &keys_root()).await
}

/// The directory of all keys.
fn keys_root() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("keys")
}

async fn runtime_with_keys(engine: &Engine, ports: &str, image: &str, keys: &Path) -> DockerRuntime {
    let found = docker::connect(Some(&engine.host())).await.unwrap();
    let options = docker::DockerOptions {
        backend: BACKEND,
        image: image.to_owned(),
        ports: ports.parse().unwrap(),
        lan_ip: Some("127.0.0.1".to_owned()),
        firewall: true,
        keys: keys.to_owned(),
    };
    DockerRuntime::new(found, options).await.unwrap()
}

/// A new SSH key pair.
struct Keys {
    dir: tempfile::TempDir,
    public: String,
}

impl Keys {
    fn fresh() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let options = ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"];
        assert!(Command::new("ssh-keygen").args(options).arg(&path).status().unwrap().success());
        let public = std::fs::read_to_string(dir.path().join("key.pub")).unwrap().trim().to_owned();
        Self { dir, public }
    }

    fn known_hosts(&self) -> PathBuf {
        self.dir.path().join("known_hosts")
    }

    /// Runs a command with `ssh`, which stores the host key and fails if it changes later.
    fn ssh(&self, port: u16, command: &str) -> Output {
        self.ssh_command(port, command).output().unwrap()
    }

    fn ssh_command(&self, port: u16, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "StrictHostKeyChecking=accept-new", "-o"])
            .arg(format!("UserKnownHostsFile={}", self.known_hosts().display()))
            // One host name for all ports, because the host key belongs to the instance.
            .args(["-o", "HostKeyAlias=instance", "-i"])
            .arg(self.dir.path().join("key"))
            .args(["-p", &port.to_string(), "root@127.0.0.1", command]);
        ssh
    }

    /// Waits until the key logs in, or until it does not.
    async fn until_login(&self, port: u16, is_accepted: bool) {
        let mut attempts = tokio::time::interval(Duration::from_millis(250));
        let changed = async {
            while self.ssh(port, "true").status.success() != is_accepted {
                attempts.tick().await;
            }
        };
        assert!(tokio::time::timeout(REPORT_TIMEOUT, changed).await.is_ok(), "accepted is not {is_accepted}");
    }

    /// Runs a command that must succeed, and returns its output.
    fn ssh_output(&self, port: u16, command: &str) -> String {
        let output = self.ssh(port, command);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ssh -p {port} {command:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn instance(n: u128) -> InstanceId {
    InstanceId::from_uuid(Uuid::from_u128(n))
}

fn assignment(n: u128, generation: u32, desired: DesiredState, key: &str) -> Assignment {
    Assignment {
        instance_id: instance(n),
        user_id: UserId::from_uuid(Uuid::from_u128(7)),
        placement: 1,
        generation,
        desired,
        container: (desired != DesiredState::Deleted).then(|| ContainerSpec {
            image: None,
            hostname: "box".to_owned(),
            ssh_public_key: key.to_owned(),
            authorized_keys: None,
            limits: Limits { memory_mib: 64, cpu_millis: 500, pids: 50 },
            container_id: None,
            restart: RestartPolicy::default(),
            has_run: false,
        }),
    }
}

fn all_of(engine: &Engine, n: u128) -> String {
    engine.docker(&[
        "ps",
        "--all",
        "--no-trunc",
        "--quiet",
        "--filter",
        &format!("label=dockhost.instance={}", instance(n)),
    ])
}

/// Waits until somebody is connected to the only container that runs, or until nobody is.
async fn until_connected(runtime: &DockerRuntime, is_connected: bool) {
    let mut attempts = tokio::time::interval(Duration::from_millis(250));
    let mut seen = BTreeMap::new();
    let changed = async {
        while seen != BTreeMap::from([(instance(1), is_connected)]) {
            attempts.tick().await;
            seen = runtime.ssh_connections().await.unwrap();
        }
    };
    let in_time = tokio::time::timeout(REPORT_TIMEOUT, changed).await;
    assert!(in_time.is_ok(), "expected {is_connected}, last seen {seen:?}");
}

#[tokio::test]
async fn agent_instance_lifecycle_keeps_files_ports_and_host_keys() {
    let engine = Engine::start();
    let keys = Keys::fresh();
    let agent = Agent::start(&engine, "20000-20299", TEST_IMAGE).await;

    let created = agent.running(&assignment(1, 1, DesiredState::Running, &keys.public)).await;
    assert_eq!(keys.ssh_output(created.ports.ssh, "id -u; hostname; echo kept > /root/file"), "0\nbox");
    let known = Command::new("ssh-keygen").arg("-lf").arg(keys.known_hosts()).output().unwrap();
    assert!(
        String::from_utf8_lossy(&known.stdout).contains(created.host_keys.as_slice()[0].as_str()),
        "{known:?} {created:?}"
    );
    assert!(!Keys::fresh().ssh(created.ports.ssh, "true").status.success(), "a foreign key was accepted");

    // Seen from outside the container, as long as somebody is connected.
    let watcher = runtime(&engine, "20000-20299", TEST_IMAGE).await;
    until_connected(&watcher, false).await;
    let mut session = keys.ssh_command(created.ports.ssh, "cat").stdin(Stdio::piped()).spawn().unwrap();
    until_connected(&watcher, true).await;
    session.kill().unwrap();
    session.wait().unwrap();
    until_connected(&watcher, false).await;

    let stopped = agent.stopped(&assignment(1, 2, DesiredState::Stopped, &keys.public)).await;
    assert_eq!(watcher.ssh_connections().await.unwrap(), BTreeMap::new(), "nothing runs");
    assert_eq!(stopped, Observation { phase: Phase::Stopped, ..created.clone() });
    assert!(!keys.ssh(created.ports.ssh, "true").status.success(), "a stopped instance accepted a login");

    // A restarted agent finds the instance, and a stopped instance keeps its ports.
    drop(agent);
    let agent = Agent::start(&engine, "20000-20299", TEST_IMAGE).await;
    let mut resume = assignment(1, 3, DesiredState::Running, &keys.public);
    if let Some(spec) = &mut resume.container {
        spec.container_id = Some(created.container_id.to_string());
    }
    assert_eq!(agent.running(&resume).await, created);
    assert_eq!(keys.ssh_output(created.ports.ssh, "cat /root/file"), "kept");

    // A container that stops unexpectedly (here, killed) is reported and restarted.
    agent.reports.0.0.lock().unwrap().clear();
    engine.docker(&["kill", &created.container_id]);
    let killed = agent.wait_for_report(|report| is(report, Phase::Stopped)).await;
    assert_eq!(observation(killed).ended, Some(ContainerEnd::Killed { signal: 9 }));
    agent.wait_for_report(|report| is(report, Phase::Running)).await;
    assert_eq!(keys.ssh_output(created.ports.ssh, "cat /root/file"), "kept");

    // If another process uses its port while it is stopped, it gets other ports and keeps its files and host keys.
    agent.stopped(&assignment(1, 4, DesiredState::Stopped, &keys.public)).await;
    let other_process = TcpListener::bind(("0.0.0.0", created.ports.http)).unwrap();
    resume.generation = 5;
    let moved = agent.running(&resume).await;
    assert_ne!((moved.ports, &moved.container_id), (created.ports, &created.container_id));
    assert_eq!(moved.host_keys, created.host_keys);
    assert_eq!(keys.ssh_output(moved.ports.ssh, "cat /root/file"), "kept");
    assert_eq!(all_of(&engine, 1), *moved.container_id, "the new container is the only one");
    drop(other_process);

    let deleted = agent.assign(&assignment(1, 6, DesiredState::Deleted, ""), |report| report.generation == 6).await;
    assert_eq!(deleted.kind, ReportKind::InstanceDeleted);
    assert_eq!(all_of(&engine, 1), "");
    assert_eq!(engine.docker(&["images", "--quiet", "dockhost/files"]), "", "the image of its files was not removed");
}

/// Only the engine's events show these ends: there is no resync meanwhile.
#[tokio::test]
async fn agent_container_that_ends_or_is_removed_is_reported_with_its_cause() {
    let engine = Engine::start();
    let keys = Keys::fresh();
    let agent = Agent::with_resync(&engine, "21300-21399", TEST_IMAGE, Duration::from_secs(3600)).await;
    let created = agent.running(&assignment(1, 1, DesiredState::Running, &keys.public)).await;
    let ended = async |agent: &Agent| {
        let report = agent.wait_for_report(|report| is(report, Phase::Stopped)).await;
        agent.wait_for_report(|report| is(report, Phase::Running)).await;
        agent.reports.0.0.lock().unwrap().clear();
        observation(report).ended.unwrap()
    };
    agent.reports.0.0.lock().unwrap().clear();
    engine.docker(&["kill", "--signal", "KILL", &created.container_id]);
    assert_eq!(ended(&agent).await, ContainerEnd::Killed { signal: 9 });

    // The kernel kills the main process first. It would kill the hungry one otherwise, and the container would go on.
    let pid = engine.docker(&["inspect", "--format", "{{.State.Pid}}", &created.container_id]);
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), "1000").unwrap();
    // It ends with the container, so its exit code does not matter.
    let hungry = ["exec", &created.container_id, "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
    Command::new("docker").env("DOCKER_HOST", engine.host()).args(hungry).output().unwrap();
    assert_eq!(ended(&agent).await, ContainerEnd::OutOfMemory);

    // With the policy `never` it is not started again, whatever ended it.
    let mut never = assignment(1, 2, DesiredState::Running, &keys.public);
    if let Some(spec) = &mut never.container {
        (spec.restart, spec.container_id) = (RestartPolicy::Never, Some(created.container_id.to_string()));
    }
    agent.running(&never).await;
    engine.docker(&["stop", &created.container_id]);
    let failed = agent.wait_for_report(|report| matches!(report.kind, ReportKind::InstanceFailed(_))).await;
    let ReportKind::InstanceFailed(error) = failed.kind else { panic!("{failed:?}") };
    assert!(["exited", "killed"].contains(&error.code.as_str()), "{error:?}");
    assert_eq!(engine.docker(&["inspect", "--format", "{{.State.Running}}", &created.container_id]), "false");

    never.generation = 3;
    agent.running(&never).await;
    engine.docker(&["rm", "--force", &created.container_id]);
    let gone = agent.wait_for_report(|report| matches!(report.kind, ReportKind::InstanceFailed(_))).await;
    let ReportKind::InstanceFailed(error) = gone.kind else { panic!("{gone:?}") };
    assert_eq!(error.code.as_str(), "container_gone");
}

/// Only an engine that the test has started is restarted.
#[tokio::test(flavor = "multi_thread")]
async fn agent_containers_that_ended_with_the_engine_run_again() {
    let mut engine = Engine::start();
    let keys = Keys::fresh();
    let agent = Agent::with_resync(&engine, "21400-21499", TEST_IMAGE, Duration::from_secs(3600)).await;
    let created = agent.running(&assignment(1, 1, DesiredState::Running, &keys.public)).await;
    keys.ssh_output(created.ports.ssh, "echo kept > /root/file");
    agent.reports.0.0.lock().unwrap().clear();
    if !engine.restart() {
        return;
    }
    let ended = agent.wait_for_report(|report| is(report, Phase::Stopped)).await;
    // An engine that ends in order first stops its containers, and the agent may notice that before the engine is gone.
    let cause = observation(ended).ended;
    let is_known = matches!(
        cause,
        Some(ContainerEnd::EngineRestarted | ContainerEnd::Exited { .. } | ContainerEnd::Killed { .. })
    );
    assert!(is_known, "{cause:?}");
    let again = observation(agent.wait_for_report(|report| is(report, Phase::Running)).await);
    assert_eq!(again, created);
    assert_eq!(keys.ssh_output(again.ports.ssh, "cat /root/file"), "kept");
}

fn with_keys(assignment: &Assignment, version: u32, keys: &[&Keys]) -> Assignment {
    let mut changed = assignment.clone();
    let keys = keys.iter().map(|keys| keys.public.clone()).collect();
    changed.container.as_mut().unwrap().authorized_keys = Some(AuthorizedKeys { version, keys });
    changed
}

#[tokio::test]
async fn agent_changed_keys_log_in_to_the_container_that_runs() {
    let engine = Engine::start();
    let (old, new) = (Keys::fresh(), Keys::fresh());
    let agent = Agent::start(&engine, "21500-21599", TEST_IMAGE).await;
    let running = assignment(1, 1, DesiredState::Running, &old.public);
    let created = agent.running(&running).await;
    let (port, id) = (created.ports.ssh, &created.container_id);
    let started = || engine.docker(&["inspect", "--format", "{{.State.StartedAt}}", id]);
    let before = started();
    let mounts = engine.docker(&["inspect", "--format", "{{range .Mounts}}{{.Destination}} {{.RW}}{{end}}", id]);
    assert_eq!(mounts, "/etc/dockhost/keys false");
    old.until_login(port, true).await;
    assert!(!new.ssh(port, "true").status.success(), "a foreign key was accepted");
    assert!(!old.ssh(port, "echo x > /etc/dockhost/keys/x").status.success(), "the container can write on its machine");

    agent.reconciler.assign(with_keys(&running, 1, &[&new]));
    new.until_login(port, true).await;
    assert!(!old.ssh(port, "true").status.success(), "a removed key was accepted");

    // A restarted agent knows what it has written.
    drop(agent);
    let agent = Agent::start(&engine, "21500-21599", TEST_IMAGE).await;
    agent.running(&running).await;
    assert!(!old.ssh(port, "true").status.success(), "an earlier assignment brought its key back");
    agent.reconciler.assign(with_keys(&running, 2, &[]));
    new.until_login(port, false).await;
    assert_eq!(started(), before, "the container was restarted");

    let dir = keys_root().join(format!("dockhost-{}-1", instance(1)));
    assert!(dir.exists());
    agent.assign(&assignment(1, 2, DesiredState::Deleted, ""), |report| report.generation == 2).await;
    assert!(!dir.exists(), "the keys of a deleted instance are left");
}

#[tokio::test]
async fn agent_whose_directories_the_engine_does_not_see_uploads_the_keys() {
    let engine = Engine::start();
    let (old, new) = (Keys::fresh(), Keys::fresh());
    // Nobody can make files there.
    let runtime = runtime_with_keys(&engine, "21600-21699", TEST_IMAGE, Path::new("/proc/keys")).await;
    let agent = Agent::of(runtime, Duration::from_millis(200));
    let running = assignment(1, 1, DesiredState::Running, &old.public);
    let created = agent.running(&running).await;
    let port = created.ports.ssh;
    let started = || engine.docker(&["inspect", "--format", "{{.State.StartedAt}}", &created.container_id]);
    let before = started();
    assert_eq!(engine.docker(&["inspect", "--format", "{{len .Mounts}}", &created.container_id]), "0");
    old.until_login(port, true).await;

    agent.reconciler.assign(with_keys(&running, 1, &[&new]));
    new.until_login(port, true).await;
    assert!(!old.ssh(port, "true").status.success(), "a removed key was accepted");

    // What its owner adds stays, also when the agent is restarted, and now finds a directory.
    new.ssh_output(port, &format!("echo '{}' >> /root/.ssh/authorized_keys", old.public));
    drop(agent);
    let agent = Agent::start(&engine, "21600-21699", TEST_IMAGE).await;
    agent.running(&with_keys(&running, 1, &[&new])).await;
    old.until_login(port, true).await;

    agent.reconciler.assign(with_keys(&running, 2, &[]));
    new.until_login(port, false).await;
    assert!(!old.ssh(port, "true").status.success(), "a removed key was accepted");
    assert_eq!(started(), before, "the container was restarted");
}

#[tokio::test]
async fn agent_container_is_isolated_from_host_and_other_instances() {
    let engine = Engine::start();
    let keys = Keys::fresh();
    let agent = Agent::start(&engine, "20300-20599", TEST_IMAGE).await;
    let one = agent.running(&assignment(1, 1, DesiredState::Running, &keys.public)).await;
    let second_keys = Keys::fresh();
    let two = agent.running(&assignment(2, 1, DesiredState::Running, &second_keys.public)).await;

    let inspect = |what: &str| engine.docker(&["inspect", "--format", what, &one.container_id]);
    let addresses = inspect("{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}");
    assert_eq!(addresses, "127.0.0.1 127.0.0.1 127.0.0.1", "the ports are published on LAN_IP only");
    assert_eq!(inspect("{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}"), "67108864 67108864");
    assert_eq!(inspect("{{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}"), "500000000 50");
    assert_eq!(inspect("{{.HostConfig.Privileged}} {{.HostConfig.Binds}}"), "false []");
    assert_eq!(inspect("{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.SecurityOpt}}"), "no [no-new-privileges]");

    // CAP_SYS_ADMIN is bit 21, CAP_NET_ADMIN 12; and of those that engines give by default, CAP_SETPCAP 8, CAP_NET_RAW 13,
    // CAP_MKNOD 27, CAP_AUDIT_WRITE 29, CAP_SETFCAP 31.
    let capabilities = keys.ssh_output(one.ports.ssh, "grep CapEff /proc/self/status");
    let bits = u64::from_str_radix(capabilities.split_whitespace().last().unwrap(), 16).unwrap();
    let denied: u64 = [21, 12, 8, 13, 27, 29, 31].iter().map(|bit| 1 << bit).sum();
    assert_eq!(bits & denied, 0, "{capabilities}");
    assert!(!keys.ssh(one.ports.ssh, "hostname other").status.success());

    // The other container's SSH server is reachable from the host, but not from this container.
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let second_address = engine.docker(&["inspect", "--format", address, &two.container_id]);
    assert_eq!(second_keys.ssh_output(two.ports.ssh, "echo here"), "here");
    let reach = format!("nc -w 2 {second_address} 22 < /dev/null");
    assert!(!keys.ssh(one.ports.ssh, &reach).status.success(), "another instance was reached");
    // The same holds for a server on the host, which a container on another network of the engine reaches.
    let listener = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || listener.incoming().for_each(|stream| drop(stream.unwrap().write_all(b"host\n"))));
    let gateway = |network: &str| {
        engine.docker(&["network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", network])
    };
    let fetch = |network: &str| format!("nc -w 2 {} {port} < /dev/null", gateway(network));
    assert_eq!(engine.docker(&["run", "--rm", TEST_IMAGE, "sh", "-c", &fetch("bridge")]), "host");
    assert_eq!(String::from_utf8_lossy(&keys.ssh(one.ports.ssh, &fetch("dockhost")).stdout), "");
    // The same command reaches a permitted address, which proves that the command works.
    assert!(second_keys.ssh_output(two.ports.ssh, "nc -w 2 127.0.0.1 22 < /dev/null").starts_with("SSH-"));
}

/// `docker network prune` removes each network that no running container uses.
#[tokio::test]
async fn agent_network_removed_is_made_again_for_old_and_new_instances() {
    let engine = Engine::start();
    let keys = Keys::fresh();
    let agent = Agent::start(&engine, "20700-20999", TEST_IMAGE).await;
    let created = agent.running(&assignment(1, 1, DesiredState::Running, &keys.public)).await;
    keys.ssh_output(created.ports.ssh, "echo kept > /root/file");
    agent.stopped(&assignment(1, 2, DesiredState::Stopped, &keys.public)).await;

    engine.docker(&["network", "prune", "--force"]);
    let resumed = agent.running(&assignment(1, 3, DesiredState::Running, &keys.public)).await;
    assert_eq!(resumed, created);
    assert_eq!(keys.ssh_output(resumed.ports.ssh, "cat /root/file"), "kept");

    agent.stopped(&assignment(1, 4, DesiredState::Stopped, &keys.public)).await;
    engine.docker(&["network", "prune", "--force"]);
    let second_keys = Keys::fresh();
    let second = agent.running(&assignment(2, 1, DesiredState::Running, &second_keys.public)).await;
    assert_eq!(second_keys.ssh_output(second.ports.ssh, "hostname"), "box");
    // The network exists again, but it is not the one that this container was connected to.
    assert_eq!(agent.running(&assignment(1, 5, DesiredState::Running, &keys.public)).await, created);
}

/// Each rule of the packet filter, with the number of times that it exists.
fn isolation_rules(program: &str) -> BTreeMap<String, usize> {
    let output = Command::new(program).args(["-t", "filter"]).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut rules = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("-A ") && line.contains("DOCKHOST-")) {
        *rules.entry(line.to_owned()).or_insert(0) += 1;
    }
    rules
}

#[tokio::test]
async fn isolation_rules_removed_by_another_program_are_made_again_and_never_twice() {
    let engine = Engine::start();
    // Two agents on one engine.
    let (one, two) =
        (runtime(&engine, "21000-21099", TEST_IMAGE).await, runtime(&engine, "21100-21199", TEST_IMAGE).await);
    let enforce = async || {
        let states = tokio::join!(one.enforce_isolation(), two.enforce_isolation());
        assert_eq!(states, (Some(IsolationState::Enforced), Some(IsolationState::Enforced)));
    };
    enforce().await;
    for filter in ["iptables", "ip6tables"] {
        let save = format!("{filter}-save");
        let complete = isolation_rules(&save);
        assert!(complete.keys().any(|rule| rule.starts_with("-A INPUT -i ")), "{complete:#?}");
        assert!(complete.values().all(|count| *count == 1), "{complete:#?}");
        // As firewall scripts and reloads do.
        let removals: [&[&str]; 4] =
            [&["-F", "INPUT"], &["-F", "DOCKHOST-HOST"], &["-F", "DOCKHOST-OUT"], &["-D", "DOCKHOST-OUT", "1"]];
        for removal in removals {
            assert!(Command::new(filter).arg("-w").args(removal).status().unwrap().success(), "{removal:?}");
            assert_ne!(isolation_rules(&save), complete);
            enforce().await;
            assert_eq!(isolation_rules(&save), complete, "after {filter} {removal:?}");
        }
    }
}

#[tokio::test]
async fn leftover_images_of_files_are_removed_only_without_an_instance() {
    let engine = Engine::start();
    let runtime = runtime(&engine, "21200-21299", TEST_IMAGE).await;
    let first = assignment(1, 1, DesiredState::Running, "ssh-ed25519 AAAA");
    runtime.create(&first, first.container.as_ref().unwrap()).await.unwrap();
    let image_of = |n| format!("dockhost/files:{}-1", instance(n));
    for n in [1, 2] {
        engine.docker(&["tag", TEST_IMAGE, &image_of(n)]);
    }
    runtime.remove_leftovers().await.unwrap();
    // Podman lists the other names of the same image, too.
    let left = engine.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "dockhost/files"]);
    let left: Vec<&str> = left.lines().filter(|name| name.contains("dockhost/files:")).collect();
    assert_eq!(left, [image_of(1)]);
    runtime.remove(&only(&runtime, 1).await.id).await.unwrap();
    runtime.remove_leftovers().await.unwrap();
    assert_eq!(engine.docker(&["images", "--quiet", "dockhost/files"]), "");
    assert_ne!(engine.docker(&["images", "--quiet", TEST_IMAGE]), "");
}

#[tokio::test]
async fn docker_runtime_engine_errors_are_mapped() {
    let engine = Engine::start();
    let first_assignment = assignment(1, 1, DesiredState::Running, "ssh-ed25519 AAAA");
    let spec = first_assignment.container.clone().unwrap();

    // A second creation of the same container.
    let few = runtime(&engine, "20600-20605", TEST_IMAGE).await;
    few.create(&first_assignment, &spec).await.unwrap();
    assert!(matches!(few.create(&first_assignment, &spec).await, Err(RuntimeError::AlreadyExists)));
    // One of the two port blocks belongs to a container that has not started, the other to another process.
    let first = only(&few, 1).await;
    let other = if first.ports.ssh == 20600 { 20603 } else { 20600 };
    let other_process = TcpListener::bind(("0.0.0.0", other + 2)).unwrap();
    let second = assignment(2, 1, DesiredState::Running, "ssh-ed25519 AAAA");
    assert!(matches!(few.create(&second, &spec).await, Err(RuntimeError::NoPorts(_))));
    drop(other_process);
    few.create(&second, &spec).await.unwrap();

    // Another process binds a port between creation and start.
    let other_process = TcpListener::bind(("0.0.0.0", first.ports.https)).unwrap();
    let refused = few.start(&first, Some(&spec)).await;
    assert!(matches!(refused, Err(RuntimeError::PortTaken(_))), "{refused:?}");
    drop(other_process);
    // Podman's service goes on listening on the ports that were free. The agent moves such an instance to other ports.
    if few.kind() != "podman" {
        few.start(&first, Some(&spec)).await.unwrap();
    }

    // A second stop and a second removal.
    few.stop(&first.id).await.unwrap();
    few.stop(&first.id).await.unwrap();
    assert_eq!(only(&few, 1).await.ports, first.ports);
    few.remove(&first.id).await.unwrap();
    assert!(matches!(few.remove(&first.id).await, Err(RuntimeError::NotFound)));
    assert!(matches!(few.stop(&first.id).await, Err(RuntimeError::NotFound)));

    // A missing image.
    let wrong = runtime(&engine, "20606-20620", "dockhost/no-such-image:latest").await;
    let missing = wrong.create(&first_assignment, &spec).await;
    assert!(matches!(&missing, Err(RuntimeError::ImageMissing(image)) if image == "dockhost/no-such-image:latest"));
}

async fn only(runtime: &DockerRuntime, n: u128) -> Container {
    let mut containers = runtime.list(Some(instance(n))).await.unwrap();
    assert_eq!(containers.len(), 1, "{containers:?}");
    containers.remove(0)
}

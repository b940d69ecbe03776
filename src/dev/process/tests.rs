use super::*;

fn shell(script: &str, log: &Path) -> Program {
    Program {
        name: "test child",
        path: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![],
        log: log.to_owned(),
    }
}

/// The state letter of a process, or `None` if there is no such process.
fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never {what}");
        ticks.tick().await;
    }
}

fn contains(log: &Path, word: &str) -> bool {
    std::fs::read_to_string(log).unwrap_or_default().contains(word)
}

#[tokio::test]
async fn stop_child_that_handles_sigterm_exits_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let child = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", &log).start().unwrap();
    until("up", || contains(&log, "up")).await;
    child.stop(Duration::from_secs(10)).await;
    assert!(contains(&log, "bye"));
}

#[tokio::test]
async fn stop_child_that_ignores_sigterm_is_killed_after_the_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let child = shell("trap '' TERM; echo up; while :; do sleep 0.05; done", &log).start().unwrap();
    until("up", || contains(&log, "up")).await;
    let pid = child.pid().unwrap();
    child.stop(Duration::from_millis(50)).await;
    assert_eq!(state_of(pid), None);
}

#[tokio::test]
async fn signal_stop_and_cont_pause_and_resume_the_child() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = shell("while :; do sleep 0.05; done", &directory.path().join("log")).start().unwrap();
    let pid = child.pid().unwrap();
    child.signal(Signal::Stop).await.unwrap();
    until("paused", || state_of(pid) == Some('T')).await;
    child.signal(Signal::Cont).await.unwrap();
    until("running again", || state_of(pid) != Some('T')).await;
    child.kill().await;
}

#[tokio::test]
async fn wait_until_ready_child_that_exits_returns_status_and_log() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = shell("echo no such option; exit 3", &directory.path().join("log")).start().unwrap();
    let error = child.wait_until_ready(Duration::from_secs(10), async |_| None::<()>).await.unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.contains("no such option"), "{error}");
}

/// A shell is the owner here, because the test can't kill itself: it starts a child with a watcher and is killed.
#[tokio::test]
async fn pipe_watcher_killed_owner_kills_child_and_grandchild() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let inner = format!("sleep 1000 & echo $! > {0}.2; echo $$ > {0}; wait", pids.display());
    let mut owner = std::process::Command::new("/bin/sh")
        // Only the owner has the fifo's writing end open, as with the pipe of a real owner.
        .arg("-c")
        .arg("mkfifo fifo; setsid /bin/sh -c \"$1\" watched /bin/sh -c \"$2\" <fifo & exec 9>fifo; exec sleep 1000")
        .args(["owner", PIPE_WATCHER_SCRIPT, &inner])
        .current_dir(directory.path())
        .spawn()
        .unwrap();
    until("up", || contains(&pids, "\n")).await;
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap().trim().parse::<u32>().unwrap();
    let (child, grandchild) = (read(pids.clone()), read(pids.with_extension("2")));
    assert!(state_of(child).is_some() && state_of(grandchild).is_some());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let gone = |pid| state_of(pid).is_none_or(|state| state == 'Z');
    until("dead", || gone(child) && gone(grandchild)).await;
}

#[tokio::test]
async fn pid_watcher_killed_owner_kills_child() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let mut owner = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let program = shell(&format!("echo $$ > {}; exec sleep 1000", pid.display()), &directory.path().join("log"));
    program.start_owned_by(owner.id()).unwrap();
    until("up", || contains(&pid, "\n")).await;
    let child: u32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    assert!(state_of(child).is_some());
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("dead", || state_of(child).is_none_or(|state| state == 'Z')).await;
}

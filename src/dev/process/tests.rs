use super::*;

fn shell(script: &str, log: &Path) -> Program {
    Program {
        name: "a test's child",
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

fn said(log: &Path, word: &str) -> bool {
    std::fs::read_to_string(log).unwrap_or_default().contains(word)
}

#[tokio::test]
async fn a_child_is_stopped_gently() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let child = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", &log).start().unwrap();
    until("up", || said(&log, "up")).await;
    child.stop(Duration::from_secs(10)).await;
    assert!(said(&log, "bye"));
}

#[tokio::test]
async fn a_deaf_child_is_killed_at_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let child = shell("trap '' TERM; echo up; while :; do sleep 0.05; done", &log).start().unwrap();
    until("up", || said(&log, "up")).await;
    let pid = child.pid().unwrap();
    child.stop(Duration::from_millis(50)).await;
    assert_eq!(state_of(pid), None);
}

#[tokio::test]
async fn a_child_can_be_paused() {
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
async fn a_child_that_ends_at_once_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = shell("echo no such option; exit 3", &directory.path().join("log")).start().unwrap();
    let error = child.wait_until_ready(Duration::from_secs(10), async |_| None::<()>).await.unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.contains("no such option"), "{error}");
}

/// Here the test's shell stands for the owner: it starts a leashed child and is killed without a chance to clean up.
#[tokio::test]
async fn a_child_and_its_children_die_with_a_killed_owner() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let inner = format!("sleep 1000 & echo $! > {0}.2; echo $$ > {0}; wait", pids.display());
    let mut owner = std::process::Command::new("/bin/sh")
        // The fifo's writing end is open in the owner alone, as the pipe of a real owner is.
        .arg("-c")
        .arg("mkfifo fifo; setsid /bin/sh -c \"$1\" leashed /bin/sh -c \"$2\" <fifo & exec 9>fifo; exec sleep 1000")
        .args(["owner", PIPE_WATCHER_SCRIPT, &inner])
        .current_dir(directory.path())
        .spawn()
        .unwrap();
    until("up", || said(&pids, "\n")).await;
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap().trim().parse::<u32>().unwrap();
    let (child, grandchild) = (read(pids.clone()), read(pids.with_extension("2")));
    assert!(state_of(child).is_some() && state_of(grandchild).is_some());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let gone = |pid| state_of(pid).is_none_or(|state| state == 'Z');
    until("the death of both", || gone(child) && gone(grandchild)).await;
}

#[tokio::test]
async fn a_bound_child_dies_with_the_process_it_is_bound_to() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let mut owner = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let program = shell(&format!("echo $$ > {}; exec sleep 1000", pid.display()), &directory.path().join("log"));
    program.start_owned_by(owner.id()).unwrap();
    until("up", || said(&pid, "\n")).await;
    let child: u32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    assert!(state_of(child).is_some());
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("its death", || state_of(child).is_none_or(|state| state == 'Z')).await;
}

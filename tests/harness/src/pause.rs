//! Pauses and resumes a process.

use dockhost::dev::process::{Child, Signal};

use super::wait::{DEADLINE, wait_until};

/// Pauses a process; returns when it has stopped, because signals are delivered asynchronously.
pub async fn pause(child: &mut Child) {
    child.signal(Signal::Stop).await.unwrap();
    let stat = format!("/proc/{}/stat", child.pid().unwrap());
    wait_until("the process is stopped", DEADLINE, async || {
        let text = std::fs::read_to_string(&stat).unwrap();
        // `pid (name) state …`; the name may contain any character.
        let state = text.rsplit(") ").next().unwrap_or_default().chars().next();
        if state == Some('T') { Ok(()) } else { Err(text) }
    })
    .await;
}

/// Resumes a paused process.
pub async fn resume(child: &mut Child) {
    child.signal(Signal::Cont).await.unwrap();
}

//! Standing still. In: a child. Out: it is stopped, as a machine that hangs, when the call returns; or it goes on.

use dockhost::dev::process::{Child, Signal};

use super::wait::{DEADLINE, wait_until};

/// Stops a child; returns when it stands still, for a signal takes a moment to arrive.
pub async fn pause(child: &mut Child) {
    child.signal(Signal::Stop).await.unwrap();
    let stat = format!("/proc/{}/stat", child.pid().unwrap());
    wait_until("the process stands still", DEADLINE, async || {
        let text = std::fs::read_to_string(&stat).unwrap();
        // `pid (name) state …`; the name may hold anything.
        let state = text.rsplit(") ").next().unwrap_or_default().chars().next();
        if state == Some('T') { Ok(()) } else { Err(text) }
    })
    .await;
}

/// Lets a child go on that was stopped.
pub async fn resume(child: &mut Child) {
    child.signal(Signal::Cont).await.unwrap();
}

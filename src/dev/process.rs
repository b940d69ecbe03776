//! A child process that cannot outlive its owner, not even one that is killed.
//!
//! In: a program, its arguments and environment, a log file. Out: a [`Child`] that can be signalled, stopped gently
//! with a deadline, and that dies with its owner. The kernel's parent-death signal needs unsafe code here and follows a
//! thread, not a process (a runtime's worker that ends would take the broker with it). So each child is started through
//! a few lines of POSIX shell: they leave a watcher behind that reads from a pipe (its end of file means that the owner
//! is gone: the whole process group is killed) and then become the program, which keeps their process id. The same pipe
//! carries signals, since sending one is unsafe code too. Children get a process group of their own: a Ctrl-C in the
//! terminal reaches the owner alone, who then stops them in the right order.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};

/// The words on the pipe are signal names. `kill -- -$$` cannot hit a stranger: the watcher is in that group itself.
const PIPE_WATCHER_SCRIPT: &str = r#"
exec 3<&0
(
    trap '' INT TERM HUP
    while read -r signal <&3; do kill -s "$signal" $$; done
    kill -s KILL -- -$$
) &
exec "$@" </dev/null 3<&-
"#;

/// The same for a child that is shared by several processes and bound to one that outlives them all.
const PID_WATCHER_SCRIPT: &str = r#"
owner=$1
shift
(
    trap '' INT TERM HUP
    while kill -s 0 "$owner" 2>/dev/null; do sleep 0.2; done
    kill -s KILL -- -$$
) &
exec "$@" </dev/null
"#;

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// What people call it, in logs and errors.
    pub name: &'static str,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments. They show in `ps`: secrets belong into `env`.
    pub args: Vec<OsString>,
    /// Environment variables, added to the owner's own.
    pub env: Vec<(&'static str, String)>,
    /// Where its standard output and error go; appended to.
    pub log: PathBuf,
}

/// A running child; dropped, it is killed.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    child: tokio::process::Child,
    control_pipe: ChildStdin,
    log: PathBuf,
}

/// A child could not be started, or ended when it should not.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Its log file can't be opened, or there is no shell.
    #[error("{name} could not be started")]
    Start {
        /// Which program.
        name: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It ended by itself.
    #[error("{name} ended with {status}; the end of {log}:\n{tail}", log = log.display())]
    Ended {
        /// Which program.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// It runs, but was not ready in time.
    #[error("{name} was not ready after {} s; the end of {log}:\n{tail}", waited.as_secs(), log = log.display())]
    NotReady {
        /// Which program.
        name: &'static str,
        /// How long it was given.
        waited: Duration,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
}

/// The signals that children are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Please end.
    Term,
    /// End.
    Kill,
    /// Pause, as a machine that hangs.
    Stop,
    /// Go on.
    Cont,
}

impl Program {
    /// Starts it as a child of this process.
    ///
    /// # Errors
    /// [`ProcessError::Start`]. A program that ends at once is noticed by [`Child::wait_until_ready`].
    pub fn start(self) -> Result<Child, ProcessError> {
        let name = self.name;
        let failed = |source| ProcessError::Start { name, source };
        let mut child =
            self.command(PIPE_WATCHER_SCRIPT, &[]).and_then(|mut command| command.spawn()).map_err(failed)?;
        let control_pipe = child.stdin.take().ok_or_else(|| failed(std::io::Error::other("no pipe")))?;
        tracing::debug!(name, pid = child.id(), log = %self.log.display(), "started");
        Ok(Child { name, child, control_pipe, log: self.log })
    }

    /// Starts it on its own, to be killed within a moment of the end of the process `owner`.
    ///
    /// # Errors
    /// [`ProcessError::Start`].
    pub fn start_owned_by(self, owner: u32) -> Result<(), ProcessError> {
        let failed = |source| ProcessError::Start { name: self.name, source };
        let mut command = self.command(PID_WATCHER_SCRIPT, &[owner.to_string().into()]).map_err(failed)?;
        command.stdin(Stdio::null()).kill_on_drop(false).spawn().map_err(failed)?;
        Ok(())
    }

    fn command(&self, script: &str, first: &[OsString]) -> std::io::Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).arg(self.name).args(first).arg(&self.path).args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }
}

impl Child {
    /// Its process id; `None` once it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] if it is no longer there, [`ProcessError::Start`] if its pipe is closed.
    pub async fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        let line: &[u8] = match signal {
            Signal::Term => b"TERM\n",
            Signal::Kill => b"KILL\n",
            Signal::Stop => b"STOP\n",
            Signal::Cont => b"CONT\n",
        };
        self.check()?;
        self.control_pipe.write_all(line).await.map_err(|source| ProcessError::Start { name: self.name, source })
    }

    /// Waits until `probe` finds it ready, asking every few milliseconds.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] as soon as it ends, [`ProcessError::NotReady`] after `timeout`.
    pub async fn wait_until_ready<T>(
        &mut self,
        timeout: Duration,
        mut probe: impl AsyncFnMut(u32) -> Option<T>,
    ) -> Result<T, ProcessError> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while tokio::time::Instant::now() < deadline {
            ticks.tick().await;
            let pid = self.check()?;
            if let Some(ready) = probe(pid).await {
                return Ok(ready);
            }
        }
        Err(ProcessError::NotReady { name: self.name, waited: timeout, log: self.log.clone(), tail: tail(&self.log) })
    }

    /// Its process id if it still runs.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] if it does not.
    pub fn check(&mut self) -> Result<u32, ProcessError> {
        let failed = |source| ProcessError::Start { name: self.name, source };
        match (self.child.try_wait().map_err(failed)?, self.child.id()) {
            (None, Some(pid)) => Ok(pid),
            (status, _) => Err(self.ended(status.unwrap_or_default())),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`ProcessError::Start`] if the system can't tell.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        self.child.wait().await.map_err(|source| ProcessError::Start { name: self.name, source })
    }

    /// Asks it to end, and kills it if it does not within `timeout`. Returns when it is gone.
    pub async fn stop(mut self, timeout: Duration) {
        let name = self.name;
        if self.signal(Signal::Term).await.is_ok() {
            match tokio::time::timeout(timeout, self.child.wait()).await {
                Ok(_) => return tracing::debug!(name, "stopped"),
                Err(_) => tracing::warn!(name, "did not stop in time and is killed"),
            }
        }
        self.kill().await;
    }

    /// Kills it, as a crash would. Returns when it is gone.
    pub async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::debug!(name = self.name, %error, "was gone before it was killed");
        }
    }

    fn ended(&self, status: ExitStatus) -> ProcessError {
        ProcessError::Ended { name: self.name, status, log: self.log.clone(), tail: tail(&self.log) }
    }
}

/// The last lines of a log file, for an error message.
#[must_use]
pub fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests;

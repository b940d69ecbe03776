//! Child processes that can't outlive their owner, even if it is killed.
//!
//! A few lines of shell start each child: they leave a watcher in the background, which kills the child's process group
//! when the owner is gone, then replace themselves with the program, which keeps their process id. Why not the kernel's
//! parent-death signal: it doesn't reach grandchildren, and it fires when the *thread* that started the child ends. No
//! crate kills the children of a killed owner either. Children have their own process group, so that Ctrl-C in the
//! terminal reaches only the owner, which stops them in order.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};

/// The watcher reads from a pipe that only the owner writes to. Each line is the name of a signal for the child; the end
/// of the pipe means that the owner is gone. `kill -- -$$` can't hit another group: the watcher itself is in this one.
const PIPE_WATCHER_SCRIPT: &str = r#"
exec 3<&0
(
    trap '' INT TERM HUP
    while read -r signal <&3; do kill -s "$signal" $$; done
    kill -s KILL -- -$$
) &
exec "$@" </dev/null 3<&-
"#;

/// For a child that several processes share: the watcher polls the process `owner`, which outlives them all.
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
    /// Its name in logs and errors.
    pub name: &'static str,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments. `ps` shows them, so secrets belong into `env`.
    pub args: Vec<OsString>,
    /// Environment variables, in addition to the owner's.
    pub env: Vec<(&'static str, String)>,
    /// The file to which its standard output and error are appended.
    pub log: PathBuf,
}

/// A running child; it is killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    child: tokio::process::Child,
    control_pipe: ChildStdin,
    log: PathBuf,
}

/// Why a child did not start or is not running.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A system call failed.
    #[error("{name} can't be started or controlled")]
    Start {
        /// Which program.
        name: &'static str,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// It exited.
    #[error("{name} exited with {status}; the end of {log}:\n{tail}", log = log.display())]
    Exited {
        /// Which program.
        name: &'static str,
        /// Its exit status.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log file.
        tail: String,
    },
    /// It is running, but was not ready in time.
    #[error("{name} was not ready after {} s; the end of {log}:\n{tail}", waited.as_secs(), log = log.display())]
    NotReady {
        /// Which program.
        name: &'static str,
        /// How long the owner waited.
        waited: Duration,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log file.
        tail: String,
    },
}

/// A signal for a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks the child to exit.
    Term,
    /// Kills the child.
    Kill,
    /// Pauses the child, like a machine that hangs.
    Stop,
    /// Resumes a paused child.
    Cont,
}

impl Program {
    /// Starts the program as a child of this process.
    ///
    /// # Errors
    /// [`ProcessError::Start`]. A program that exits at once is found by [`Child::wait_until_ready`].
    pub fn start(self) -> Result<Child, ProcessError> {
        let name = self.name;
        let failed = |source| ProcessError::Start { name, source };
        let mut child =
            self.command(PIPE_WATCHER_SCRIPT, &[]).and_then(|mut command| command.spawn()).map_err(failed)?;
        let control_pipe = child.stdin.take().ok_or_else(|| failed(std::io::Error::other("no pipe")))?;
        tracing::debug!(name, pid = child.id(), log = %self.log.display(), "started");
        Ok(Child { name, child, control_pipe, log: self.log })
    }

    /// Starts the program detached from this process; it is killed when the process `owner` ends.
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
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log)?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).arg(self.name).args(first).arg(&self.path).args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }
}

impl Child {
    /// Its process id; `None` if it has exited.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`ProcessError::Exited`] if the child has exited, [`ProcessError::Start`] if its pipe is closed.
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

    /// Waits until `probe` returns a value; calls it every few milliseconds with the process id.
    ///
    /// # Errors
    /// [`ProcessError::Exited`] as soon as the child exits, [`ProcessError::NotReady`] after `timeout`.
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

    /// The process id of the running child.
    ///
    /// # Errors
    /// [`ProcessError::Exited`].
    pub fn check(&mut self) -> Result<u32, ProcessError> {
        let failed = |source| ProcessError::Start { name: self.name, source };
        match (self.child.try_wait().map_err(failed)?, self.child.id()) {
            (None, Some(pid)) => Ok(pid),
            (status, _) => Err(self.exited(status.unwrap_or_default())),
        }
    }

    /// Waits until the child exits.
    ///
    /// # Errors
    /// [`ProcessError::Start`] if the system call fails.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        self.child.wait().await.map_err(|source| ProcessError::Start { name: self.name, source })
    }

    /// Asks the child to exit, and kills it after `timeout`. Returns when it has exited.
    pub async fn stop(mut self, timeout: Duration) {
        let name = self.name;
        if self.signal(Signal::Term).await.is_ok() {
            match tokio::time::timeout(timeout, self.child.wait()).await {
                Ok(_) => return tracing::debug!(name, "stopped"),
                Err(_) => tracing::warn!(name, "did not stop in time; killing it"),
            }
        }
        self.kill().await;
    }

    /// Kills the child, as a crash would. Returns when it has exited.
    pub async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::debug!(name = self.name, %error, "had exited before it was killed");
        }
    }

    fn exited(&self, status: ExitStatus) -> ProcessError {
        ProcessError::Exited { name: self.name, status, log: self.log.clone(), tail: tail(&self.log) }
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

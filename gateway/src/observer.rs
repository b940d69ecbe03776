//! Looks at the containers of one machine, by asking it.
//!
//! The machine can say "no" and mean "my container engine does not answer". So a container counts as gone only after three
//! noes, a "yes" about another container, and one more no.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use dockhost_agent::runtime::RuntimeError;
use tokio::time::{Instant, sleep};

use crate::containers::Containers;
use crate::link::Link;
use crate::protocol::{self, Answer, Command};

/// Noes after which a container may be gone, and the pause between them.
const LOOKS: u32 = 3;
const LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// How long after a "yes" the machine's container engine need not be probed.
pub const YES_COUNTS_FOR: Duration = Duration::from_secs(5);
/// How long an engine may seem not to work, for example while it restarts, before an instance fails because of it.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_INTERVAL: Duration = Duration::from_secs(2);
/// Other containers that are asked about for a "yes".
const MAX_WITNESSES: usize = 3;
/// A name that no container has, to see whether the machine answers at all.
const NOBODY: &str = "dockhost-nobody";

/// What the owner of an instance reads.
pub const NO_ENGINE: &str = "the container engine of its machine does not answer";
/// The same.
pub const NO_ANSWER: &str = "its machine did not answer in time";

/// What was seen of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It runs.
    Running,
    /// It exists and does not run.
    Stopped,
    /// The machine does not have it.
    Gone,
}

/// Whether a machine's container engine works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// It was seen to.
    Works,
    /// The machine has none of the containers that it should have.
    SaysNo,
    /// There is no container to ask about.
    Unknown,
}

/// Asks one machine.
pub struct Observer {
    link: Arc<Link>,
    containers: Arc<Containers>,
    last_yes: Mutex<Option<Instant>>,
}

impl Observer {
    /// Asks over this link; `containers` are those that the machine may have.
    #[must_use]
    pub fn new(link: Arc<Link>, containers: Arc<Containers>) -> Self {
        Self { link, containers, last_yes: Mutex::default() }
    }

    /// Sends a command about a container.
    async fn call(&self, command: Command, name: &str) -> Result<Answer, RuntimeError> {
        self.link.call(command, name, &protocol::about(name)).await.map_err(|error| other(NO_ANSWER, error))
    }

    /// Asks a question about a container.
    ///
    /// # Errors
    /// If the machine does not answer.
    pub async fn ask(&self, command: Command, name: &str) -> Result<bool, RuntimeError> {
        let answer = self.call(command, name).await?;
        let is_yes = answer == Answer::Flag(true);
        if is_yes {
            *self.last_yes.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Ok(is_yes)
    }

    /// Lets the machine do something; whether it claims success.
    ///
    /// # Errors
    /// If the machine does not answer.
    pub async fn command(&self, command: Command, name: &str) -> Result<bool, RuntimeError> {
        Ok(matches!(self.call(command, name).await?, Answer::Outcome { success: true, .. }))
    }

    fn has_said_yes(&self) -> bool {
        let last = *self.last_yes.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() <= YES_COUNTS_FOR)
    }

    /// Looks at a container.
    ///
    /// # Errors
    /// If the machine does not answer, or says "no" and its engine is not seen to work for [`PATIENCE`].
    pub async fn look(&self, name: &str) -> Result<Sight, RuntimeError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.look_alone(name).await? {
                Sight::Gone if self.is_gone(name).await? => return Ok(Sight::Gone),
                Sight::Gone if Instant::now() >= deadline => return Err(no_engine()),
                Sight::Gone => sleep(PATIENCE_INTERVAL).await,
                sight => return Ok(sight),
            }
        }
    }

    /// Whether a container that the machine denies is gone for certain: it still denies it after its engine was seen to work.
    ///
    /// # Errors
    /// If the machine does not answer.
    pub async fn is_gone(&self, name: &str) -> Result<bool, RuntimeError> {
        Ok(self.engine(name).await? == Engine::Works && !self.ask(Command::Exists, name).await?)
    }

    /// The same, without looking at the engine: `Gone` means that the machine has said so three times.
    ///
    /// # Errors
    /// If the machine does not answer.
    pub async fn look_alone(&self, name: &str) -> Result<Sight, RuntimeError> {
        for look in 0..LOOKS {
            if look > 0 {
                sleep(LOOK_INTERVAL).await;
            }
            if self.ask(Command::IsRunning, name).await? {
                return Ok(Sight::Running);
            }
            if self.ask(Command::Exists, name).await? {
                return Ok(Sight::Stopped);
            }
        }
        Ok(Sight::Gone)
    }

    /// Whether the machine's engine works, without asking about the container with this name.
    ///
    /// # Errors
    /// If the machine does not answer.
    pub async fn engine(&self, except: &str) -> Result<Engine, RuntimeError> {
        let known = self.containers.of(None).into_iter().filter(|known| !self.containers.is_to_go(known));
        let mut witnesses: Vec<String> = known.map(|known| known.name()).filter(|name| name != except).collect();
        if witnesses.is_empty() {
            return Ok(Engine::Unknown);
        }
        // Not always the same ones: some of them may be gone.
        let first = rand::random_range(0..witnesses.len());
        witnesses.rotate_left(first);
        for name in witnesses.iter().take(MAX_WITNESSES) {
            if self.ask(Command::Exists, name).await? {
                return Ok(Engine::Works);
            }
        }
        Ok(Engine::SaysNo)
    }

    /// Whether the machine answers, and its engine as far as can be seen.
    ///
    /// # Errors
    /// If not.
    pub async fn probe(&self) -> Result<(), RuntimeError> {
        if self.has_said_yes() {
            return Ok(());
        }
        match self.engine("").await? {
            Engine::Works => Ok(()),
            Engine::SaysNo => Err(no_engine()),
            // Any answer will do.
            Engine::Unknown => self.ask(Command::Exists, NOBODY).await.map(drop),
        }
    }
}

/// An operation that failed: `action` is what the owner of the instance reads.
pub fn other(action: &'static str, source: impl Into<anyhow::Error>) -> RuntimeError {
    RuntimeError::Other { action, source: source.into() }
}

/// The engine of the machine is not seen to work.
#[must_use]
pub fn no_engine() -> RuntimeError {
    other(NO_ENGINE, anyhow!("the machine denies all of its containers, or the only one"))
}

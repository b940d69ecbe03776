//! Commands to one machine, and the answers to them.
//!
//! An answer says only which container it is about. So there is one command at a time for each container; and after one that
//! was not answered in time, the next waits until the late answer has arrived, or for some seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::protocol::{Answer, Command};

/// Commands to one machine that wait for their answers at once. Each is a process there.
const MAX_COMMANDS: usize = 16;
/// How long after its time-out a late answer may still come.
const LATE_FOR: Duration = Duration::from_secs(15);

/// The way to one machine.
pub trait Wire: Send + Sync + 'static {
    /// Sends an event with one argument.
    ///
    /// # Errors
    /// [`NoAnswer::NotSent`] if the machine is gone, or too much waits to be sent to it.
    fn emit(&self, event: &'static str, body: &Value) -> Result<(), NoAnswer>;
}

/// Why a command has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It was not sent.
    #[error("the command could not be sent: {0}")]
    NotSent(String),
    /// No answer came in time.
    #[error("no answer came within {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// Sends commands to one machine.
pub struct Link {
    wire: Box<dyn Wire>,
    containers: Mutex<HashMap<String, Arc<Conversation>>>,
    places: Semaphore,
}

/// The commands about one container.
#[derive(Default)]
struct Conversation {
    /// Held from a command to its answer.
    turn: tokio::sync::Mutex<()>,
    expected: Mutex<Option<Expected>>,
    /// Notified when the expected answer has arrived.
    settled: Notify,
}

struct Expected {
    command: Command,
    sent: Instant,
    answer: oneshot::Sender<Answer>,
}

impl Conversation {
    fn expected(&self) -> MutexGuard<'_, Option<Expected>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no late answer is expected any more.
    async fn settle(&self) {
        loop {
            let until = match &*self.expected() {
                Some(earlier) => earlier.sent + earlier.command.timeout() + LATE_FOR,
                None => return,
            };
            if timeout_at(until, self.settled.notified()).await.is_err() {
                *self.expected() = None;
            }
        }
    }

    /// Expects the answer to a command that is about to be sent.
    fn expect(&self, command: Command) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        *self.expected() = Some(Expected { command, sent: Instant::now(), answer });
        receiver
    }
}

impl Link {
    /// A link over this wire; its answers go to [`Link::deliver`].
    #[must_use]
    pub fn new(wire: impl Wire) -> Self {
        Self { wire: Box::new(wire), containers: Mutex::default(), places: Semaphore::new(MAX_COMMANDS) }
    }

    fn containers(&self) -> MutexGuard<'_, HashMap<String, Arc<Conversation>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a command about a container, and waits for its answer.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn call(&self, command: Command, name: &str, body: &Value) -> Result<Answer, NoAnswer> {
        let conversation = Arc::clone(self.containers().entry(name.to_owned()).or_default());
        let answer = self.take_turn(&conversation, command, body).await;
        let mut containers = self.containers();
        // The map has one, and this is the other.
        if Arc::strong_count(&conversation) == 2 && conversation.expected().is_none() {
            containers.remove(name);
        }
        answer
    }

    async fn take_turn(&self, conversation: &Conversation, command: Command, body: &Value) -> Result<Answer, NoAnswer> {
        let _turn = conversation.turn.lock().await;
        conversation.settle().await;
        // It is never closed.
        let _place = self.places.acquire().await;
        let receiver = conversation.expect(command);
        if let Err(error) = self.wire.emit(command.event(), body) {
            *conversation.expected() = None;
            return Err(error);
        }
        match timeout(command.timeout(), receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(NoAnswer::TimedOut(command.timeout())),
        }
    }

    /// Takes an event of the machine. One that answers nothing is dropped.
    pub fn deliver(&self, name: &str, value: &Value) {
        let conversation = self.containers().get(name).cloned();
        let Some((conversation, answer)) = conversation.zip(Answer::read(value)) else {
            tracing::debug!("an event of a machine is not an answer that anything waits for");
            return;
        };
        let mut expected = conversation.expected();
        if let Some(fitting) = expected.take_if(|expected| expected.command.fits(answer)) {
            // Nobody waits for a late one.
            let _ = fitting.answer.send(answer);
            conversation.settled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;

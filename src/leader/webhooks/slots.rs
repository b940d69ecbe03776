//! How many deliveries are on their way at once. Receivers that fail or are slow share slots of their own, so that however
//! many there are, the others do not wait for them.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Deliveries at once to receivers that answer soon.
const PROMPT: usize = 128;
/// Deliveries at once to receivers that fail or are slow.
const TROUBLED: usize = 64;
/// A receiver that takes longer is slow.
const SLOW: Duration = Duration::from_secs(2);

/// The slots of all webhooks.
pub struct SendSlots {
    prompt: Semaphore,
    troubled: Semaphore,
}

impl Default for SendSlots {
    fn default() -> Self {
        Self { prompt: Semaphore::new(PROMPT), troubled: Semaphore::new(TROUBLED) }
    }
}

/// How a receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// It answers soon, or is new.
    Prompt,
    /// It fails, or is slow.
    Troubled,
}

impl Behaviour {
    /// That of a receiver whose last answer took so long.
    pub fn of(is_failing: bool, last_took: Option<Duration>) -> Self {
        if is_failing || last_took.is_some_and(|took| took > SLOW) { Self::Troubled } else { Self::Prompt }
    }
}

impl SendSlots {
    /// Waits for a slot; none if the slots are closed, which they never are.
    pub async fn take(&self, behaviour: Behaviour) -> Option<SemaphorePermit<'_>> {
        let slots = match behaviour {
            Behaviour::Prompt => &self.prompt,
            Behaviour::Troubled => &self.troubled,
        };
        slots.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn slots_of_receivers_that_are_prompt_are_free_however_many_others_fail() {
        let slots = SendSlots::default();
        let mut held = Vec::new();
        while let Some(slot) = slots.take(Behaviour::of(true, None)).now_or_never() {
            held.push(slot);
        }
        assert_eq!(held.len(), TROUBLED);
        assert!(slots.take(Behaviour::of(false, Some(Duration::from_secs(3)))).now_or_never().is_none());
        assert!(slots.take(Behaviour::of(false, Some(Duration::from_secs(1)))).now_or_never().is_some());
        assert!(slots.take(Behaviour::of(false, None)).now_or_never().is_some());
    }
}

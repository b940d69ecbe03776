//! One worker's run: from an assignment to a report.
//!
//! In: the newest assignment of one instance. Out: the runtime as wanted and a report, or a report of why not. Errors
//! that may pass are tried again a few times at once, and then by the tick with growing pauses; refusals are final
//! until the next assignment.

use std::time::{Duration, Instant};

use dockhost_domain::ids::InstanceId;
use dockhost_domain::wire::{Assignment, News, Report, Trouble};

use super::{Memory, Reconciler, Said};
use crate::container::{Container, State};
use crate::runtime::{Runtime, RuntimeError};
use crate::step::{Step, step};

/// Looks at one instance in one run before it counts as a failure.
const LAPS: u32 = 500;
/// Errors of one run that are tried again at once.
const TRIES: u32 = 3;

/// What a run has tried so far.
#[derive(Default)]
pub(super) struct Tries {
    laps: u32,
    errors: u32,
    pub(super) starts: u32,
    pub(super) port_changes: u32,
    pub(super) fetches: u32,
    awaiting_since: Option<Instant>,
}

/// How a run ended.
pub(super) enum End {
    /// With something to say.
    Say(News),
    /// With nothing to say.
    Quiet,
    /// Nobody wants it any more: there is nothing to say, and nothing to keep.
    Over,
    /// With an error that may pass.
    Trouble(Trouble),
}

impl<R: Runtime> Reconciler<R> {
    /// Works at this instance until there is nothing more to do.
    pub(super) async fn work(&self, instance: InstanceId) {
        while let Some((assignment, memory, said)) = self.begin(instance) {
            let mut memory = memory;
            let end = tokio::select! {
                end = self.pursue(&assignment, &mut memory, said) => end,
                // Nothing needs to be undone: the next start finds what was half done.
                () = self.0.stop.cancelled() => return,
            };
            let forgotten = self.finish(&assignment, memory, end);
            self.nudge();
            if forgotten {
                // The entry is gone, and a new one may have a worker of its own.
                return;
            }
        }
    }

    /// What to do next; marks the entry as looked at. Nothing when it is clean, or the agent stops.
    fn begin(&self, instance: InstanceId) -> Option<(Assignment, Memory, Option<Said>)> {
        let mut entries = self.0.entries();
        let entry = entries.get_mut(&instance)?;
        match (&entry.assignment, entry.dirty && !self.0.stop.is_cancelled()) {
            (Some(assignment), true) => {
                entry.dirty = false;
                Some((assignment.clone(), entry.memory.clone(), entry.said.clone()))
            }
            _ => {
                entry.busy = false;
                None
            }
        }
    }

    /// Whether a newer assignment waits, so that this run should give way.
    pub(super) fn superseded(&self, assignment: &Assignment) -> bool {
        self.0.entries().get(&assignment.instance_id).is_none_or(|entry| entry.dirty)
    }

    pub(super) async fn until_superseded(&self, assignment: &Assignment) {
        while !self.superseded(assignment) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Notes how a run ended, and says it if it is news. True when the entry is forgotten with it.
    fn finish(&self, assignment: &Assignment, memory: Memory, end: End) -> bool {
        let mut entries = self.0.entries();
        let Some(entry) = entries.get_mut(&assignment.instance_id) else { return true };
        entry.memory = memory;
        let news = match end {
            End::Quiet => return false,
            End::Over => None,
            End::Say(news) => {
                if !matches!(news, News::InstanceStatus(_)) {
                    (entry.failures, entry.retry_at) = (0, None);
                }
                Some(news)
            }
            End::Trouble(trouble) => {
                let (first, longest) = self.0.patience.retry;
                let pause = first.saturating_mul(1 << entry.failures.min(16)).min(longest);
                entry.failures += 1;
                entry.retry_at = Some(Instant::now() + pause);
                tracing::warn!(instance = %assignment.instance_id, code = trouble.code, message = trouble.message,
                    retry_in = ?pause, "could not do what is wanted");
                Some(News::InstanceFailed(trouble))
            }
        };
        // A confirmed deletion needs no entry: asked again, the answer is the same. Nor does what nobody wants any more.
        let forget = !entry.dirty && news.as_ref().is_none_or(|news| *news == News::InstanceDeleted);
        if let Some(news) = news {
            let said = Said { placement: assignment.placement, generation: assignment.generation, news };
            if entry.said.as_ref() != Some(&said) {
                self.say(assignment, said.news.clone());
            }
            entry.said = Some(said);
        }
        if forget {
            entries.remove(&assignment.instance_id);
        }
        forget
    }

    pub(super) fn say(&self, assignment: &Assignment, news: News) {
        tracing::info!(instance = %assignment.instance_id, ?news, "reporting");
        self.0.outbox.put(Report {
            instance_id: assignment.instance_id,
            user_id: assignment.user_id,
            placement: assignment.placement,
            generation: assignment.generation,
            news,
        });
    }

    async fn pursue(&self, wanted: &Assignment, memory: &mut Memory, said: Option<Said>) -> End {
        let mut tries = Tries::default();
        loop {
            if self.superseded(wanted) {
                return End::Quiet;
            }
            tries.laps += 1;
            if tries.laps > LAPS {
                return trouble("runtime_error", "the container doesn't become what is wanted".to_owned());
            }
            match self.lap(wanted, memory, said.as_ref(), &mut tries).await {
                Ok(Some(end)) => return end,
                Ok(None) => {}
                Err(error) => {
                    tries.errors += 1;
                    if tries.errors >= TRIES {
                        return trouble("runtime_error", error.chain());
                    }
                    tracing::debug!(instance = %wanted.instance_id, error = error.chain(), "trying again");
                    tokio::time::sleep(Duration::from_millis(300) * tries.errors).await;
                }
            }
        }
    }

    /// Looks, decides and acts once. `Ok(None)`: look again.
    async fn lap(
        &self,
        wanted: &Assignment,
        memory: &mut Memory,
        said: Option<&Said>,
        tries: &mut Tries,
    ) -> Result<Option<End>, RuntimeError> {
        let (instance, runtime) = (wanted.instance_id, &self.0.runtime);
        let mut actual = self.act(runtime.list(Some(instance))).await?;
        self.learn_host_keys(&actual, memory).await;
        memory.recall(&mut actual);
        self.0.rooms.note(instance, !actual.is_empty());
        if tries.laps == 1 {
            self.say_what_happened_by_itself(wanted, &actual, said);
        }
        let by_id = |id: &str| actual.iter().find(|container| container.id == id).ok_or(RuntimeError::Gone);
        match step(wanted, &actual, self.0.rooms.room_for(instance)) {
            Step::Ignore => return Ok(Some(End::Quiet)),
            Step::Report(news) => return Ok(Some(End::Say(news))),
            Step::Remove(id) => gone_is_done(self.act(runtime.remove(&id)).await)?,
            Step::Stop(id) => gone_is_done(self.act(runtime.stop(&id)).await)?,
            Step::Create => return self.create(wanted, tries).await,
            Step::Start(id) => return self.start(wanted, by_id(&id)?, memory, tries).await,
            Step::AwaitSsh(id) => {
                let since = *tries.awaiting_since.get_or_insert_with(Instant::now);
                if runtime.answers(by_id(&id)?).await {
                    memory.answered = Some(id);
                } else if since.elapsed() > self.0.patience.ssh {
                    return Ok(Some(trouble("runtime_error", "its SSH server doesn't answer".to_owned())));
                } else {
                    // The laps of waiting don't count: time does.
                    tries.laps -= 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        Ok(None)
    }

    /// Asks once per container for the fingerprints that users compare. Not knowing them stops nothing.
    async fn learn_host_keys(&self, actual: &[Container], memory: &mut Memory) {
        for container in actual {
            let known = memory.host_keys.as_ref().is_some_and(|(id, _)| *id == container.id);
            let has_some = container.state == State::Stopped || memory.answered.as_ref() == Some(&container.id);
            if known || !(has_some || container.state == State::Running) {
                continue;
            }
            match self.act(self.0.runtime.host_keys(container)).await {
                // It has made none yet, and is asked again.
                Ok(keys) if keys.is_empty() => {}
                Ok(keys) => memory.host_keys = Some((container.id.clone(), keys)),
                Err(error) => {
                    tracing::warn!(container = container.id, error = error.chain(), "could not read its host keys");
                }
            }
        }
    }

    /// A container that was as wanted and isn't any more has stopped by itself: that is said before it is mended.
    fn say_what_happened_by_itself(&self, wanted: &Assignment, actual: &[Container], said: Option<&Said>) {
        let Some(Said { placement, generation, news: News::InstanceStatus(before) }) = said else { return };
        if (*placement, *generation) != (wanted.placement, wanted.generation) {
            return;
        }
        if let Some(container) = actual.iter().find(|container| container.id == before.container_id) {
            let now = container.observation();
            if now.phase != before.phase {
                self.say(wanted, News::InstanceStatus(now));
                self.forget_said(wanted.instance_id);
            }
        }
    }

    /// The next report is news even if it equals the one before, because another was said between them. From here on
    /// the container's restarts are paced like failures.
    fn forget_said(&self, instance: InstanceId) {
        if let Some(entry) = self.0.entries().get_mut(&instance) {
            let (first, longest) = self.0.patience.retry;
            entry.said = None;
            entry.retry_at = Some(Instant::now() + first.saturating_mul(1 << entry.failures.min(16)).min(longest));
            entry.failures += 1;
        }
    }

    /// One act on the runtime, not too many at a time.
    pub(super) async fn act<T>(&self, act: impl Future<Output = Result<T, RuntimeError>>) -> Result<T, RuntimeError> {
        // The semaphore is never closed; if it were, acting unbounded beats not acting.
        let _permit = self.0.acts.acquire().await.ok();
        act.await
    }
}

pub(super) fn trouble(code: &str, message: String) -> End {
    End::Trouble(Trouble { code: code.to_owned(), message })
}

fn gone_is_done(result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Err(RuntimeError::Gone) => Ok(()),
        other => other,
    }
}

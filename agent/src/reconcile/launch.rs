//! Creates and starts a container: the two steps that can be refused.
//!
//! Before a creation, the agent asks the server whether the assignment is still current, because a placement has at most
//! one container ever.

use std::time::Duration;

use backon::Retryable;
use dockhost_domain::wire::{Assignment, ContainerSpec, ReportKind};

use super::worker::{Attempts, Outcome, failed};
use super::{ContainerCache, Reconciler};
use crate::backoff::backoff;
use crate::container::Container;
use crate::images::{Fetch, follow};
use crate::runtime::{FetchProgress, Runtime, RuntimeError};
use crate::step::agent_error;

/// First and longest delay before the server is asked again whether an assignment is current.
const CONFIRM_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// After an obsolete assignment, the worker of the instance waits for this long. If the broker delivers the past of an instance,
/// only the newest assignment that arrives meanwhile is asked about, so that the server does not take the agent for hostile.
const OBSOLETE_PAUSE: Duration = Duration::from_secs(1);
/// Starts per run, after which a container that stops right after each start is reported as failed.
const MAX_STARTS_PER_RUN: u32 = 3;
/// Port changes per run, each made because another process used the allocated ports.
const MAX_PORT_CHANGES_PER_RUN: u32 = 20;

/// How the wait for an image ended.
enum ImageWait {
    /// It is on this machine.
    Arrived,
    /// A newer assignment has arrived.
    Superseded,
    /// It can't be had; one sentence for the instance's owner.
    Unavailable(String),
    /// It is being downloaded or built.
    Fetching(FetchProgress),
}

impl<R: Runtime> Reconciler<R> {
    /// Creates the container if the assignment is still current and the limit allows it; provides the image if needed.
    pub(super) async fn create(
        &self,
        assignment: &Assignment,
        attempts: &mut Attempts,
    ) -> Result<Option<Outcome>, RuntimeError> {
        let Some(spec) = &assignment.container else { return Ok(None) };
        if !self.is_current(assignment).await {
            return Ok(Some(Outcome::Obsolete));
        }
        if !self.0.capacity.reserve(assignment.instance_id, spec.limits.into()) {
            return Ok(None);
        }
        let refused = |code, message: String| {
            self.0.capacity.set_gone(assignment.instance_id);
            tracing::warn!(instance = %assignment.instance_id, code, message, "refusing");
            let reason = agent_error(code, &message);
            Ok(Some(Outcome::Report(ReportKind::InstanceRefused(reason))))
        };
        match self.with_permit(self.0.runtime.create(assignment, spec)).await {
            Ok(()) => {
                let listed = self.with_permit(self.0.runtime.list(Some(assignment.instance_id))).await?;
                if let Some(container) = listed.iter().find(|container| container.placement == assignment.placement) {
                    self.enqueue_report(assignment, ReportKind::InstanceCreated(container.observation()));
                }
                Ok(None)
            }
            Err(RuntimeError::ImageMissing(image)) if attempts.image_attempts == 0 => {
                attempts.image_attempts += 1;
                match self.wait_for_image(assignment, spec).await {
                    ImageWait::Arrived | ImageWait::Superseded => Ok(None),
                    ImageWait::Unavailable(reason) => refused("image_missing", reason),
                    ImageWait::Fetching(progress) => refused(
                        "image_fetching",
                        format!("the image {image} is still on its way to this machine ({progress}); try again later"),
                    ),
                }
            }
            Err(error @ RuntimeError::ImageMissing(_)) => refused("image_missing", error.for_users().to_string()),
            Err(error @ RuntimeError::NoPorts(_)) => refused("no_ports", error.for_users().to_string()),
            // The container may exist, so its place stays reserved until the next list.
            Err(error) => Err(error),
        }
    }

    /// Waits for the image, which is fetched for the whole machine: the fetch goes on when this wait ends.
    async fn wait_for_image(&self, assignment: &Assignment, spec: &ContainerSpec) -> ImageWait {
        let fetch = self.0.images.fetch(spec.image.as_deref());
        let mut progress = FetchProgress::default();
        let followed = follow(fetch, |state| {
            if let Fetch::Running(now) = state {
                progress = *now;
            }
        });
        tokio::select! {
            last = followed => return match last {
                Fetch::Failed(reason) => ImageWait::Unavailable(reason),
                Fetch::Done | Fetch::Checking | Fetch::Running(_) => ImageWait::Arrived,
            },
            () = self.until_superseded(assignment) => return ImageWait::Superseded,
            () = tokio::time::sleep(self.0.config.image_timeout) => {}
        }
        ImageWait::Fetching(progress)
    }

    /// Asks the server, until it answers, whether the assignment is current; false once a newer one has arrived. Takes a while if
    /// it is not.
    pub(super) async fn is_current(&self, assignment: &Assignment) -> bool {
        let ask = || self.0.confirmer.is_current(assignment);
        let answer = ask
            .retry(backoff(CONFIRM_BACKOFF))
            .when(|_| !self.is_superseded(assignment))
            .notify(|error, delay| {
                tracing::debug!(instance = %assignment.instance_id, %error, retry_in = ?delay,
                    "could not confirm that the assignment is current");
            })
            .await;
        if let Ok(false) = answer {
            tracing::info!(instance = %assignment.instance_id, placement = assignment.placement,
                generation = assignment.generation, "the assignment is obsolete; ignoring it");
            tokio::time::sleep(OBSOLETE_PAUSE).await;
        }
        answer.unwrap_or(false)
    }

    /// Starts the container; recreates it with other ports if its own are in use.
    pub(super) async fn start(
        &self,
        assignment: &Assignment,
        container: &Container,
        cache: &mut ContainerCache,
        attempts: &mut Attempts,
    ) -> Result<Option<Outcome>, RuntimeError> {
        attempts.starts += 1;
        if attempts.starts > MAX_STARTS_PER_RUN {
            let cause = self.with_permit(self.0.runtime.end(&container.id)).await?.explain();
            return Ok(Some(failed("runtime_error", &format!("the container stops right after each start: {cause}"))));
        }
        cache.ssh_ready = None;
        let runtime = &self.0.runtime;
        match self.with_permit(runtime.start(container, assignment.container.as_ref())).await {
            Ok(()) => {
                attempts.has_started = true;
                Ok(None)
            }
            Err(RuntimeError::NotFound) => Ok(None),
            Err(RuntimeError::PortTaken(message)) => {
                attempts.starts -= 1;
                attempts.port_changes += 1;
                tracing::info!(container = %container.id, message, "the container's ports are in use; changing them");
                if attempts.port_changes > MAX_PORT_CHANGES_PER_RUN {
                    return Ok(Some(failed("no_ports", &format!("the container's ports are in use: {message}"))));
                }
                // Recreates even a container that has never run: the server may know its id already, and would take a
                // new container without that id for lost files.
                match self.with_permit(runtime.recreate_with_new_ports(container, assignment)).await {
                    Err(error @ RuntimeError::NoPorts(_)) => Ok(Some(failed("no_ports", error.for_users().as_str()))),
                    result => result.map(|()| None),
                }
            }
            Err(error) => Err(error),
        }
    }
}

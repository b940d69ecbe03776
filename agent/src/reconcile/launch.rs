//! Making and starting a container: the two acts that can be refused.
//!
//! In: what is wanted, and what the run has tried so far. Out: a container, a reason why not, or word to look again. Before
//! one is made the server is asked whether that still stands: a placement has one container ever.

use std::time::Duration;

use dockhost_domain::wire::{AgentError, Assignment, ReportKind};

use super::worker::{Attempts, Outcome, failed};
use super::{ContainerCache, Reconciler};
use crate::backoff::Backoff;
use crate::container::Container;
use crate::runtime::{Runtime, RuntimeError};

/// The first and the longest pause before the server is asked again whether an assignment stands.
const CONFIRM_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Starts of one run: a container that ends again and again is reported.
const MAX_STARTS_PER_RUN: u32 = 3;
/// Other ports of one run, each time after somebody took the chosen ones.
const MAX_PORT_CHANGES_PER_RUN: u32 = 20;

impl<R: Runtime> Reconciler<R> {
    /// Makes the container, if it is still wanted and there is room; image_attempts its image first.
    pub(super) async fn create(
        &self,
        wanted: &Assignment,
        attempts: &mut Attempts,
    ) -> Result<Option<Outcome>, RuntimeError> {
        let Some(spec) = &wanted.container else { return Ok(None) };
        if !self.is_current(wanted).await {
            return Ok(Some(Outcome::Obsolete));
        }
        if !self.0.capacity.reserve(wanted.instance_id) {
            return Ok(None);
        }
        let refused = |code, error: &RuntimeError| {
            self.0.capacity.set_exists(wanted.instance_id, false);
            let trouble = AgentError { code: String::from(code), message: error.with_causes() };
            Ok(Some(Outcome::Report(ReportKind::InstanceRefused(trouble))))
        };
        match self.with_permit(self.0.runtime.create(wanted, spec)).await {
            Ok(()) => {
                let made = self.with_permit(self.0.runtime.list(Some(wanted.instance_id))).await?;
                if let Some(container) = made.iter().find(|container| container.placement == wanted.placement) {
                    self.enqueue_report(wanted, ReportKind::InstanceCreated(container.observation()));
                }
                Ok(None)
            }
            Err(RuntimeError::ImageMissing(image)) if attempts.image_attempts == 0 => {
                attempts.image_attempts += 1;
                tracing::info!(image, "fetching an image");
                tokio::select! {
                    fetched = self.0.runtime.ensure_image(spec.image.as_deref()) => match fetched {
                        Ok(()) => Ok(None),
                        Err(error) => refused("image_missing", &error),
                    },
                    // Fetching may take minutes, by when something else may be wanted.
                    () = self.until_superseded(wanted) => Ok(None),
                }
            }
            Err(error @ RuntimeError::ImageMissing(_)) => refused("image_missing", &error),
            Err(error @ RuntimeError::NoPorts(_)) => refused("no_ports", &error),
            Err(error @ RuntimeError::Refused(_)) => refused("told_to_refuse", &error),
            Err(error) => {
                self.0.capacity.set_exists(wanted.instance_id, false);
                Err(error)
            }
        }
    }

    /// Whether what is wanted still is, asked until there is an answer; what was replaced meanwhile is not.
    async fn is_current(&self, wanted: &Assignment) -> bool {
        let mut backoff = Backoff::new(CONFIRM_BACKOFF.0, CONFIRM_BACKOFF.1);
        while !self.is_superseded(wanted) {
            match self.0.confirmer.is_current(wanted).await {
                Ok(true) => return true,
                Ok(false) => {
                    tracing::info!(instance = %wanted.instance_id, placement = wanted.placement,
                        generation = wanted.generation, "an assignment from before: no container is made");
                    return false;
                }
                Err(error) => {
                    tracing::debug!(instance = %wanted.instance_id, %error, "nobody says whether it is still wanted");
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
        false
    }

    /// Starts it; takes other ports if somebody has taken its own.
    pub(super) async fn start(
        &self,
        wanted: &Assignment,
        container: &Container,
        cache: &mut ContainerCache,
        attempts: &mut Attempts,
    ) -> Result<Option<Outcome>, RuntimeError> {
        attempts.starts += 1;
        if attempts.starts > MAX_STARTS_PER_RUN {
            return Ok(Some(failed("runtime_error", "its container ends right after each start".to_owned())));
        }
        cache.ssh_ready = None;
        let runtime = &self.0.runtime;
        match self.with_permit(runtime.start(container, wanted.container.as_ref())).await {
            Ok(()) => Ok(None),
            Err(RuntimeError::PortTaken(message)) => {
                attempts.starts -= 1;
                attempts.port_changes += 1;
                tracing::info!(container = container.id, message, "its ports are taken, choosing others");
                if attempts.port_changes > MAX_PORT_CHANGES_PER_RUN {
                    return Ok(Some(failed("no_ports", format!("its ports are taken: {message}"))));
                }
                // Even one that has never run: it may be known by its id already, so that an empty one in its place
                // would look like lost files. The new container answers to the old id.
                match self.with_permit(runtime.recreate_with_new_ports(container, wanted)).await {
                    Err(error @ RuntimeError::NoPorts(_)) => return Ok(Some(failed("no_ports", error.with_causes()))),
                    other => other?,
                }
                Ok(None)
            }
            Err(RuntimeError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

//! Gets images onto this machine, in the background.
//!
//! A download belongs to the machine and not to the instance that needs it: it goes on when that instance is deleted or
//! placed elsewhere, and all instances that need the image wait for the same download. The image of new instances is
//! fetched before an instance needs it, and again if someone removes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dockhost_domain::reported::ShortText;
use dockhost_domain::wire::ImageState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff;
use crate::machine_status::SharedStatus;
use crate::runtime::{FetchProgress, Runtime};

/// Interval at which the image of new instances is looked for.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// First and longest delay after an image could not be had.
const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// How far an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetch {
    /// The engine is asked whether it has the image.
    Checking,
    /// It is being downloaded or built.
    Running(FetchProgress),
    /// It is on this machine.
    Done,
    /// It can't be had now; one sentence for the instance's owner.
    Failed(String),
}

/// The images of one runtime; clones share all state.
pub struct Images<R>(Arc<Inner<R>>);

impl<R> Clone for Images<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<R> {
    runtime: Arc<R>,
    /// The fetches that run, by image; `None` is the agent's own default.
    running: Mutex<HashMap<Option<String>, watch::Receiver<Fetch>>>,
    /// The image of new instances; unknown until the server has told it.
    default: watch::Sender<Option<Option<String>>>,
    stop: CancellationToken,
}

impl<R: Runtime> Images<R> {
    /// The images of this runtime. Fetches end at `stop`.
    #[must_use]
    pub fn new(runtime: Arc<R>, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner { runtime, running: Mutex::default(), default: watch::channel(None).0, stop }))
    }

    /// Sets the image of new instances; `None` is the agent's own default.
    pub fn set_default(&self, image: Option<String>) {
        self.0.default.send_if_modified(|current| {
            let changed = current.as_ref() != Some(&image);
            *current = Some(image);
            changed
        });
    }

    /// Begins to fetch an image unless it is here, or joins the fetch that runs.
    #[must_use]
    pub fn fetch(&self, image: Option<&str>) -> watch::Receiver<Fetch> {
        let key = image.map(str::to_owned);
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetch) = running.get(&key) {
            return fetch.clone();
        }
        let (sender, receiver) = watch::channel(Fetch::Checking);
        running.insert(key.clone(), receiver.clone());
        let images = self.clone();
        tokio::spawn(async move {
            let fetched = tokio::select! {
                fetched = images.run(key.as_deref(), &sender) => fetched,
                () = images.0.stop.cancelled() => return,
            };
            // Before the result is visible, so that a caller that sees a failure can begin another fetch.
            images.0.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            sender.send_replace(fetched);
        });
        receiver
    }

    async fn run(&self, image: Option<&str>, state: &watch::Sender<Fetch>) -> Fetch {
        let progress = |progress| drop(state.send_replace(Fetch::Running(progress)));
        match self.0.runtime.ensure_image(image, &progress).await {
            Ok(()) => Fetch::Done,
            Err(error) => {
                tracing::warn!(image, error = error.with_causes(), "could not get the image");
                Fetch::Failed(error.for_users().to_string())
            }
        }
    }

    /// Keeps the image of new instances on this machine until shutdown, and tells its state.
    pub async fn keep_default(&self, status: &SharedStatus) {
        tokio::select! {
            () = self.keep(status) => {}
            () = self.0.stop.cancelled() => {}
        }
    }

    async fn keep(&self, status: &SharedStatus) {
        let mut default = self.0.default.subscribe();
        let mut failures = 0;
        loop {
            let Some(image) = default.borrow_and_update().clone() else {
                if default.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let fetch = self.fetch(image.as_deref());
            let last = tokio::select! {
                last = follow(fetch, |state| set(status, state)) => last,
                // The fetch goes on, for the instances that wait for it.
                _ = default.changed() => {
                    default.mark_changed();
                    failures = 0;
                    continue;
                }
            };
            let wait = if last == Fetch::Done {
                failures = 0;
                CHECK_INTERVAL
            } else {
                failures += 1;
                backoff::delay(RETRY_BACKOFF, failures - 1)
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = default.changed() => {
                    default.mark_changed();
                    failures = 0;
                }
            }
        }
    }
}

/// Passes each state of a fetch on; returns the last.
pub async fn follow(mut fetch: watch::Receiver<Fetch>, mut each: impl FnMut(&Fetch)) -> Fetch {
    loop {
        let state = fetch.borrow_and_update().clone();
        each(&state);
        if matches!(state, Fetch::Done | Fetch::Failed(_)) {
            return state;
        }
        if fetch.changed().await.is_err() {
            return Fetch::Failed("the agent stops".to_owned());
        }
    }
}

fn set(status: &SharedStatus, state: &Fetch) {
    status.set_image(match state {
        // Says nothing about whether it is here.
        Fetch::Checking => return,
        Fetch::Running(FetchProgress { percent, bytes }) => ImageState::Fetching { percent: *percent, bytes: *bytes },
        Fetch::Done => ImageState::Ready,
        Fetch::Failed(reason) => ImageState::Missing { reason: ShortText::cleaned(reason) },
    });
}

//! The stream ASSIGNMENTS: what each backend should do for each instance, the last message per subject.
//!
//! A message has the trace that it was published for in the header `traceparent`.
//!
//! Every write names the sequence that its subject is expected to end at, so a leader that was replaced overwrites
//! nothing. A confirmed assignment is removed by its sequence, never by subject: one that was published meanwhile
//! survives. A replaced one that may hold personal values is removed first, because only then does the broker overwrite
//! its bytes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{DeleteMessageErrorKind, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::subject::{ALL_ASSIGNMENTS, Channel};
use dockhost_domain::trace::HEADER as TRACE_PARENT;
use dockhost_domain::wire::Assignment;
use dockhost_telemetry::trace;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::broker::consumer::ordered::{OrderedConfig, OrderedConsumer};
use crate::broker::deliveries::Deliveries;
use crate::broker::is_conflict_in_flight;
use crate::broker::streams::ASSIGNMENTS;
use crate::common::error::Cause;

/// Messages per pull request of [`Assignments::contents`].
const CONTENTS_PER_PULL: usize = 1000;
/// After this long without a read the broker removes the consumer of [`Assignments::contents`].
const CONTENTS_INACTIVE: Duration = Duration::from_secs(60);

/// The current assignment of an instance to a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct CurrentAssignment {
    /// The last sequence on the subject; 0 for none.
    pub sequence: u64,
    /// The assignment; `None` if there is none or it is unreadable (and will be replaced).
    pub assignment: Option<Assignment>,
}

impl CurrentAssignment {
    /// Whether the message may hold personal values.
    pub fn may_hold_personal_values(&self) -> bool {
        self.sequence > 0 && self.assignment.as_ref().is_none_or(|assignment| assignment.container.is_some())
    }
}

/// A request to the broker failed; the text names the request.
#[derive(Debug, thiserror::Error)]
#[error("{request}")]
pub struct AssignmentsError {
    request: &'static str,
    #[source]
    source: Cause,
}

fn failed<E: Into<Cause>>(request: &'static str) -> impl FnOnce(E) -> AssignmentsError {
    move |error| AssignmentsError { request, source: error.into() }
}

/// The stream ASSIGNMENTS.
#[derive(Clone)]
pub struct Assignments {
    jetstream: jetstream::Context,
    stream: Stream,
    deliveries: Arc<Deliveries>,
}

impl Assignments {
    /// Opens the stream.
    ///
    /// # Errors
    /// If the broker does not answer, or there is no such stream.
    pub async fn open(jetstream: &jetstream::Context) -> Result<Self, AssignmentsError> {
        let stream = jetstream.get_stream(ASSIGNMENTS).await.map_err(failed("opening the assignments"))?;
        Ok(Self { jetstream: jetstream.clone(), stream, deliveries: Arc::default() })
    }

    /// What was published here, or by a clone, and is not known to be delivered.
    #[must_use]
    pub const fn deliveries(&self) -> &Arc<Deliveries> {
        &self.deliveries
    }

    /// The current assignment, read from the stream's leader.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn current(
        &self,
        backend: BackendId,
        instance: InstanceId,
    ) -> Result<CurrentAssignment, AssignmentsError> {
        let subject = Channel::Assignment(backend, instance).to_string();
        match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(CurrentAssignment {
                sequence: message.sequence,
                assignment: serde_json::from_slice(&message.payload).ok(),
            }),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                Ok(CurrentAssignment { sequence: 0, assignment: None })
            }
            Err(error) => Err(failed("reading an assignment")(error)),
        }
    }

    /// Publishes an assignment if its subject still ends at `expected`; `false` on a sequence conflict.
    async fn put(&self, backend: BackendId, assignment: &Assignment, expected: u64) -> Result<bool, AssignmentsError> {
        let subject = Channel::Assignment(backend, assignment.instance_id).to_string();
        let payload = serde_json::to_vec(assignment).map_err(failed("serialising an assignment"))?;
        let mut message = PublishMessage::build().payload(payload.into()).expected_last_subject_sequence(expected);
        if let Some(current) = trace::current() {
            message = message.header(TRACE_PARENT, current.to_string());
        }
        let acknowledgement =
            self.jetstream.send_publish(subject, message).await.map_err(failed("publishing an assignment"))?;
        match acknowledgement.await {
            Ok(stored) => {
                self.deliveries.published(backend, stored.sequence);
                Ok(true)
            }
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence || is_conflict_in_flight(&error) => {
                Ok(false)
            }
            Err(error) => Err(failed("publishing an assignment")(error)),
        }
    }

    /// Replaces `current`; `false` on a sequence conflict. If the caller stops between removal and publish, there is no
    /// assignment until the dispatcher looks again; agents remove nothing because of a missing assignment.
    ///
    /// # Errors
    /// If the broker does not answer; the new assignment may or may not be stored.
    pub async fn replace(
        &self,
        backend: BackendId,
        assignment: &Assignment,
        current: &CurrentAssignment,
    ) -> Result<bool, AssignmentsError> {
        let mut expected = current.sequence;
        if current.may_hold_personal_values() {
            self.remove(expected).await?;
            expected = 0;
        }
        self.put(backend, assignment, expected).await
    }

    /// Removes the message at a sequence so that its bytes are overwritten. Succeeds if it is gone already.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn remove(&self, sequence: u64) -> Result<(), AssignmentsError> {
        let Err(error) = self.stream.delete_message(sequence).await else { return Ok(()) };
        let gone = match error.kind() {
            DeleteMessageErrorKind::JetStream(reply) => match reply.error_code() {
                ErrorCode::SEQUENCE_NOT_FOUND | ErrorCode::NO_MESSAGE_FOUND => true,
                // The answer if another client removed the message at the same time.
                ErrorCode::STREAM_MESSAGE_DELETE_FAILED => !self.exists(sequence).await?,
                _ => false,
            },
            _ => false,
        };
        if gone { Ok(()) } else { Err(failed("removing an assignment")(error)) }
    }

    async fn exists(&self, sequence: u64) -> Result<bool, AssignmentsError> {
        match self.stream.get_raw_message(sequence).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(failed("reading a removed assignment")(error)),
        }
    }

    /// All backends and instances with an assignment.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn all(&self) -> Result<BTreeSet<(BackendId, InstanceId)>, AssignmentsError> {
        self.list(ALL_ASSIGNMENTS).await
    }

    /// The content of every assignment, in one read. In a cluster the node that serves it may lag behind the stream's
    /// leader: [`Assignments::all`] says what exists.
    pub fn contents(&self) -> BoxStream<'static, Result<(BackendId, Assignment), AssignmentsError>> {
        let config = OrderedConfig {
            stream: ASSIGNMENTS,
            filter: ALL_ASSIGNMENTS.to_owned(),
            after: 0,
            messages_per_pull: CONTENTS_PER_PULL,
            inactive_threshold: CONTENTS_INACTIVE,
        };
        let consumer = OrderedConsumer::new(self.jetstream.clone(), config);
        let messages = futures::stream::try_unfold((consumer, false), async |(mut consumer, ended)| {
            if ended {
                return Ok(None);
            }
            // A heartbeat means that there is no further message.
            let Some((_, message)) = consumer.next().await.map_err(failed("reading the assignments"))? else {
                return Ok(None);
            };
            let ended = message.info().is_ok_and(|info| info.pending == 0);
            Ok(Some((message, (consumer, ended))))
        });
        let contents = messages.try_filter_map(async |message| {
            let assignment = serde_json::from_slice::<Assignment>(&message.payload).ok();
            Ok(match (message.subject.parse(), assignment) {
                (Ok(Channel::Assignment(backend, _)), Some(assignment)) => Some((backend, assignment)),
                _ => None,
            })
        });
        contents.boxed()
    }

    /// The assignments of one backend.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn of(&self, backend: BackendId) -> Result<BTreeSet<(BackendId, InstanceId)>, AssignmentsError> {
        self.list(&Channel::assignments_of(backend)).await
    }

    /// The last sequence of one backend's assignments, read from the stream's leader; 0 if it has none.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub async fn last_sequence_of(&self, backend: BackendId) -> Result<u64, AssignmentsError> {
        match self.stream.get_last_raw_message_by_subject(&Channel::assignments_of(backend)).await {
            Ok(message) => Ok(message.sequence),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(0),
            Err(error) => Err(failed("reading the last assignment")(error)),
        }
    }

    async fn list(&self, filter: &str) -> Result<BTreeSet<(BackendId, InstanceId)>, AssignmentsError> {
        const REQUEST: &str = "listing the assignments";
        let mut subjects = self.stream.info_with_subjects(filter).await.map_err(failed(REQUEST))?;
        let mut assignments = BTreeSet::new();
        while let Some((subject, _)) = subjects.try_next().await.map_err(failed(REQUEST))? {
            if let Ok(Channel::Assignment(backend, instance)) = subject.parse() {
                assignments.insert((backend, instance));
            }
        }
        Ok(assignments)
    }
}

//! The stream ASSIGNMENTS: what each backend should do for each instance, the last word per subject.
//!
//! In: an assignment with the sequence that its subject is expected to end at. Out: whether it was put there, or that
//! somebody was faster. A confirmed one is removed by its sequence, never by subject: an assignment put meanwhile
//! survives. A replaced one is removed that way first: only then does the broker overwrite it, and it holds what its
//! user typed.

use std::collections::BTreeSet;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::subject::{ALL_ASSIGNMENTS, Channel};
use dockhost_domain::wire::Assignment;
use futures::TryStreamExt;

use crate::broker::is_conflict_in_flight;

/// What stands on one subject: its last sequence (0 for none) and the assignment there.
#[derive(Debug, Clone, PartialEq)]
pub struct CurrentAssignment {
    /// The last sequence on the subject.
    pub sequence: u64,
    /// What it says; none if nothing is there (or nothing readable: it will be replaced).
    pub assignment: Option<Assignment>,
}

impl CurrentAssignment {
    /// Whether it may hold what a user typed.
    pub fn may_hold_personal_values(&self) -> bool {
        self.sequence > 0 && self.assignment.as_ref().is_none_or(|assignment| assignment.container.is_some())
    }
}

/// The broker did not do as asked; the text says what was tried.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct AssignmentsError {
    what: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn failed_to<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: &'static str,
) -> impl FnOnce(E) -> AssignmentsError {
    move |error| AssignmentsError { what, source: error.into() }
}

/// The stream ASSIGNMENTS.
#[derive(Clone)]
pub struct Assignments {
    jetstream: jetstream::Context,
    stream: Stream,
}

impl Assignments {
    /// Wraps the stream.
    pub fn new(jetstream: jetstream::Context, stream: Stream) -> Self {
        Self { jetstream, stream }
    }

    /// What stands for an instance on a backend, asked of the stream's leader.
    ///
    /// # Errors
    /// The broker did not answer.
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
            Err(error) => Err(failed_to("reading an assignment")(error)),
        }
    }

    /// Puts an assignment if its subject still ends at `expected`; `false` if somebody was faster.
    ///
    /// # Errors
    /// The broker did not answer; it may or may not stand there.
    async fn put(&self, backend: BackendId, assignment: &Assignment, expected: u64) -> Result<bool, AssignmentsError> {
        let subject = Channel::Assignment(backend, assignment.instance_id).to_string();
        let payload = serde_json::to_vec(assignment).map_err(failed_to("writing an assignment"))?;
        let message = PublishMessage::build().payload(payload.into()).expected_last_subject_sequence(expected);
        let acknowledgement =
            self.jetstream.send_publish(subject, message).await.map_err(failed_to("publishing an assignment"))?;
        match acknowledgement.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence || is_conflict_in_flight(&error) => {
                Ok(false)
            }
            Err(error) => Err(failed_to("publishing an assignment")(error)),
        }
    }

    /// Puts an assignment in place of what stands; `false` if somebody was faster. Stopped in between, nothing stands:
    /// whoever follows a cue finds that, and an agent removes nothing because nothing stands.
    ///
    /// # Errors
    /// The broker did not answer; the new one may or may not stand there.
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

    /// Removes the assignment at a sequence, so that its bytes are overwritten; fine if it is gone.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn remove(&self, sequence: u64) -> Result<(), AssignmentsError> {
        use async_nats::jetstream::stream::DeleteMessageErrorKind;
        match self.stream.delete_message(sequence).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                DeleteMessageErrorKind::JetStream(error)
                    if matches!(error.error_code(), ErrorCode::SEQUENCE_NOT_FOUND | ErrorCode::NO_MESSAGE_FOUND) =>
                {
                    Ok(())
                }
                // Of one that another removed the broker says only that it could not be removed.
                DeleteMessageErrorKind::JetStream(reply)
                    if reply.error_code() == ErrorCode::STREAM_MESSAGE_DELETE_FAILED
                        && !self.exists(sequence).await? =>
                {
                    Ok(())
                }
                _ => Err(failed_to("removing an assignment")(error)),
            },
        }
    }

    async fn exists(&self, sequence: u64) -> Result<bool, AssignmentsError> {
        match self.stream.get_raw_message(sequence).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(failed_to("looking for an assignment")(error)),
        }
    }

    /// Which backends have an assignment for which instances.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn all(&self) -> Result<BTreeSet<(BackendId, InstanceId)>, AssignmentsError> {
        self.list(ALL_ASSIGNMENTS).await
    }

    /// The instances that one backend has an assignment for.
    ///
    /// # Errors
    /// The broker did not answer.
    pub async fn of(&self, backend: BackendId) -> Result<BTreeSet<(BackendId, InstanceId)>, AssignmentsError> {
        self.list(&Channel::assignments_of(backend)).await
    }

    async fn list(&self, filter: &str) -> Result<BTreeSet<(BackendId, InstanceId)>, AssignmentsError> {
        let mut subjects =
            self.stream.info_with_subjects(filter).await.map_err(failed_to("listing the assignments"))?;
        let mut list = BTreeSet::new();
        while let Some((subject, _)) = subjects.try_next().await.map_err(failed_to("listing the assignments"))? {
            if let Ok(Channel::Assignment(backend, instance)) = subject.parse() {
                list.insert((backend, instance));
            }
        }
        Ok(list)
    }
}

//! A stop, resume or deletion in each state of an instance.

use super::fixtures::*;
use crate::ids::InstanceId;
use crate::tenancy::event::{ChangeRequested, DeletionOutcome, TenancyEvent};
use crate::tenancy::{ChangeRejected, Tenancy};
use crate::testing::{at, given};
use crate::wire::DesiredState::{self, Deleted, Running, Stopped};

const NOW: i64 = 100;

/// The expected decision.
enum Expected {
    /// A new generation with a deadline in 30 s.
    Begins(u32),
    /// No event.
    Nothing,
    /// A rejection.
    Rejected(ChangeRejected),
    /// A deletion at once, because no backend has a container.
    DeletedAtOnce(u32),
}
use Expected::{Begins, DeletedAtOnce, Nothing, Rejected};

fn check(to: DesiredState, in_each_state: [(&str, Vec<TenancyEvent>, Expected); 11]) {
    for (state, history, expected) in in_each_state {
        eprintln!("{state} -> {to:?}");
        let decided = given(history).when(change(WEB, to, NOW));
        let requested = |generation| ChangeRequested {
            instance_id: WEB,
            generation,
            deadline: at(NOW + 30),
            reason: None,
            moved_by: None,
        };
        match (expected, to) {
            (Begins(generation), Running) => decided.then(TenancyEvent::ResumeRequested(requested(generation))),
            (Begins(generation), Stopped) => decided.then(TenancyEvent::StopRequested(requested(generation))),
            (Begins(generation), Deleted) => decided.then(TenancyEvent::DeleteRequested(requested(generation))),
            (Nothing, _) => decided.then_nothing(),
            (Rejected(rejection), _) => decided.then_rejected(rejection),
            (DeletedAtOnce(generation), _) => decided.then(deleted(generation, DeletionOutcome::Unplaced)),
        };
    }
}

#[test]
fn change_to_stopped_in_each_state() {
    check(
        Stopped,
        [
            ("creating", history::creating(), Begins(2)),
            ("running", history::running(), Begins(2)),
            ("recovering", history::recovering(), Begins(2)),
            ("stopping", history::stopping(), Nothing),
            ("stopped", history::stopped(), Nothing),
            ("resuming", history::resuming(), Begins(4)),
            ("stop failed", history::failed(), Begins(3)),
            ("never created", history::never_created(), Rejected(ChangeRejected::NeverCreated)),
            ("deleting", history::deleting(), Rejected(ChangeRejected::Deleting)),
            ("deleted", history::deleted(), Rejected(ChangeRejected::NotFound)),
            ("abandoned", history::abandoned(), Rejected(ChangeRejected::NotFound)),
        ],
    );
}

#[test]
fn change_to_running_in_each_state() {
    check(
        Running,
        [
            ("creating", history::creating(), Nothing),
            ("running", history::running(), Nothing),
            ("recovering", history::recovering(), Nothing),
            ("stopping", history::stopping(), Begins(3)),
            ("stopped", history::stopped(), Begins(3)),
            ("resuming", history::resuming(), Nothing),
            ("stop failed", history::failed(), Begins(3)),
            ("never created", history::never_created(), Rejected(ChangeRejected::NeverCreated)),
            ("deleting", history::deleting(), Rejected(ChangeRejected::Deleting)),
            ("deleted", history::deleted(), Rejected(ChangeRejected::NotFound)),
            ("abandoned", history::abandoned(), Rejected(ChangeRejected::NotFound)),
        ],
    );
}

#[test]
fn change_to_deleted_in_each_state_is_not_rejected() {
    check(
        Deleted,
        [
            ("creating", history::creating(), Begins(2)),
            ("running", history::running(), Begins(2)),
            ("recovering", history::recovering(), Begins(2)),
            ("stopping", history::stopping(), Begins(3)),
            ("stopped", history::stopped(), Begins(3)),
            ("resuming", history::resuming(), Begins(4)),
            ("stop failed", history::failed(), Begins(3)),
            ("never created", history::never_created(), DeletedAtOnce(2)),
            ("deleting", history::deleting(), Nothing),
            ("deleted", history::deleted(), Nothing),
            ("abandoned", history::abandoned(), Nothing),
        ],
    );
}

#[test]
fn change_of_an_unknown_instance_is_rejected() {
    let unknown: InstanceId = CI;
    for to in [Running, Stopped, Deleted] {
        given::<Tenancy>(history::running()).when(change(unknown, to, NOW)).then_rejected(ChangeRejected::NotFound);
    }
}

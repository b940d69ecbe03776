//! A user wants an instance stopped, resumed or gone: what is answered in each state that it can be in.

use super::build::*;
use crate::ids::InstanceId;
use crate::tenancy::event::{ChangeRequested, DeletionOutcome, TenancyEvent};
use crate::tenancy::{ChangeRejected, Tenancy};
use crate::testing::{at, given};
use crate::wire::DesiredState::{self, Deleted, Running, Stopped};

const NOW: i64 = 100;

/// The answer to one wish in one state.
enum Answer {
    /// A new generation, to be reached in 30 s.
    Begins(u32),
    /// It is so, or on its way.
    Nothing,
    /// Why not.
    No(ChangeRejected),
    /// Gone at once: no machine holds it.
    Gone(u32),
}
use Answer::{Begins, Gone, No, Nothing};

fn check(to: DesiredState, in_each_state: [(&str, Vec<TenancyEvent>, Answer); 11]) {
    for (state, past, answer) in in_each_state {
        eprintln!("{state} -> {to:?}");
        let asked = given(past).when(change(WEB, to, NOW));
        let wish = |generation| ChangeRequested { instance_id: WEB, generation, deadline: at(NOW + 30) };
        match (answer, to) {
            (Begins(generation), Running) => asked.then(TenancyEvent::ResumeRequested(wish(generation))),
            (Begins(generation), Stopped) => asked.then(TenancyEvent::StopRequested(wish(generation))),
            (Begins(generation), Deleted) => asked.then(TenancyEvent::DeleteRequested(wish(generation))),
            (Nothing, _) => asked.then_nothing(),
            (No(rejection), _) => asked.then_rejected(rejection),
            (Gone(generation), _) => asked.then(deleted(generation, DeletionOutcome::Unplaced)),
        };
    }
}

#[test]
fn stop() {
    check(
        Stopped,
        [
            ("creating", past::creating(), Begins(2)),
            ("running", past::running(), Begins(2)),
            ("recovering", past::recovering(), Begins(2)),
            ("stopping", past::stopping(), Nothing),
            ("stopped", past::stopped(), Nothing),
            ("resuming", past::resuming(), Begins(4)),
            ("failed to stop", past::failed(), Begins(3)),
            ("never created", past::never_created(), No(ChangeRejected::NeverCreated)),
            ("deleting", past::deleting(), No(ChangeRejected::Deleting)),
            ("deleted", past::deleted(), No(ChangeRejected::NotFound)),
            ("abandoned", past::abandoned(), No(ChangeRejected::NotFound)),
        ],
    );
}

#[test]
fn resume() {
    check(
        Running,
        [
            ("creating", past::creating(), Nothing),
            ("running", past::running(), Nothing),
            ("recovering", past::recovering(), Nothing),
            ("stopping", past::stopping(), Begins(3)),
            ("stopped", past::stopped(), Begins(3)),
            ("resuming", past::resuming(), Nothing),
            ("failed to stop", past::failed(), Begins(3)),
            ("never created", past::never_created(), No(ChangeRejected::NeverCreated)),
            ("deleting", past::deleting(), No(ChangeRejected::Deleting)),
            ("deleted", past::deleted(), No(ChangeRejected::NotFound)),
            ("abandoned", past::abandoned(), No(ChangeRejected::NotFound)),
        ],
    );
}

#[test]
fn delete_is_never_refused() {
    check(
        Deleted,
        [
            ("creating", past::creating(), Begins(2)),
            ("running", past::running(), Begins(2)),
            ("recovering", past::recovering(), Begins(2)),
            ("stopping", past::stopping(), Begins(3)),
            ("stopped", past::stopped(), Begins(3)),
            ("resuming", past::resuming(), Begins(4)),
            ("failed to stop", past::failed(), Begins(3)),
            ("never created", past::never_created(), Gone(2)),
            ("deleting", past::deleting(), Nothing),
            ("deleted", past::deleted(), Nothing),
            ("abandoned", past::abandoned(), Nothing),
        ],
    );
}

#[test]
fn an_unknown_instance_is_not_found() {
    let unknown: InstanceId = CI;
    for to in [Running, Stopped, Deleted] {
        given::<Tenancy>(past::running()).when(change(unknown, to, NOW)).then_rejected(ChangeRejected::NotFound);
    }
}

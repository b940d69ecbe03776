//! What keeps people's files: placements, confirms, and containers that are gone.

use dockhost_domain::reported::ContainerId;
use dockhost_domain::wire::{Assignment, DesiredState, Observation, Phase, Report, ReportKind};

use super::super::instance::{Instance, with_container};
use super::super::said::Said;
use super::super::trial::{Trial, report_of};
use super::{Check, Problem};

/// No backend has a container with this id.
const LOST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Questions that are refused, one after the other.
const REFUSALS: u32 = 2;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "replaces-lower-placements",
        rule: "for a higher placement it removes the container and creates another",
        run: |trial| Box::pin(replaces_lower_placements(trial)),
    },
    Check {
        name: "ignores-lower-placements",
        rule: "an assignment of a lower placement, which a broker may deliver late, changes nothing",
        run: |trial| Box::pin(ignores_lower_placements(trial)),
    },
    Check {
        name: "deletes-only-what-is-named",
        rule: "`deleted` of a lower placement leaves the container",
        run: |trial| Box::pin(deletes_only_what_is_named(trial)),
    },
    Check {
        name: "asks-before-creating",
        rule: "it creates nothing, and reports nothing, for an assignment that is not current",
        run: |trial| Box::pin(asks_before_creating(trial)),
    },
    Check {
        name: "asks-again",
        rule: "it asks again while its question is refused",
        run: |trial| Box::pin(asks_again(trial)),
    },
    Check {
        name: "says-that-files-are-lost",
        rule: "it reports `container_gone` instead of creating an empty container in place of a lost one",
        run: |trial| Box::pin(says_that_files_are_lost(trial)),
    },
];

/// An instance whose container has the second placement.
async fn placed_again(trial: &mut Trial) -> Result<(Instance, Observation, Observation), Problem> {
    let (instance, first) = trial.created().await?;
    let from = trial.mark();
    trial.assign(&instance, &instance.assignment(DesiredState::Running, 2, 2)).await?;
    let second = trial.observed(from, &instance, Phase::Running, (2, 2)).await?;
    Ok((instance, first, second))
}

async fn replaces_lower_placements(trial: &mut Trial) -> Result<(), Problem> {
    let count = trial.count().await?;
    let (_, first, second) = placed_again(trial).await?;
    if first.container_id == second.container_id {
        return Err(Problem::Failed("it reports the container of the lower placement for the higher one".to_owned()));
    }
    let from = trial.mark();
    trial.containers(from, |now| now == count + 1, "one container more than before, not two").await?;
    Ok(())
}

/// Delivers an assignment late, and expects the container of the second placement afterwards.
async fn keeps_second(
    trial: &mut Trial,
    late: impl FnOnce(&Instance, &Observation) -> Assignment,
) -> Result<(), Problem> {
    let (instance, first, second) = placed_again(trial).await?;
    let (count, from) = (trial.count().await?, trial.mark());
    trial.deliver(&late(&instance, &first)).await?;
    let differs = |said: &Said| {
        report_of(said).is_some_and(|report| {
            // That no container of the first placement exists may be said again.
            instance.is_about(report)
                && !instance.is_deleted(report, 1)
                && instance.observed(report, Phase::Running, 2, 2).is_none()
        })
    };
    trial.stays(from, "the container of the higher placement is what is wanted", differs).await?;
    let now = trial.count().await?;
    if now != count {
        return Err(Problem::Failed(format!("it had {count} containers, and has {now}")));
    }
    // It is still the same one.
    let from = trial.mark();
    let again = with_container(instance.assignment(DesiredState::Running, 2, 3), &second.container_id);
    trial.assign(&instance, &again).await?;
    let seen = trial.observed(from, &instance, Phase::Running, (2, 3)).await?;
    if seen.container_id == second.container_id {
        Ok(())
    } else {
        Err(Problem::Failed("the container of the higher placement was replaced".to_owned()))
    }
}

async fn ignores_lower_placements(trial: &mut Trial) -> Result<(), Problem> {
    keeps_second(trial, |instance, first| {
        with_container(instance.assignment(DesiredState::Stopped, 1, 1), &first.container_id)
    })
    .await
}

async fn deletes_only_what_is_named(trial: &mut Trial) -> Result<(), Problem> {
    keeps_second(trial, |instance, _| instance.assignment(DesiredState::Deleted, 1, 1)).await
}

async fn asks_before_creating(trial: &mut Trial) -> Result<(), Problem> {
    let instance = trial.instance();
    let (count, from) = (trial.count().await?, trial.mark());
    // It was never the current one.
    trial.deliver(&instance.assignment(DesiredState::Running, 1, 1)).await?;
    trial.wait(from, "a confirm", |said| asks_about(said, &instance)).await?;
    let reports = |said: &Said| report_of(said).is_some_and(|report| instance.is_about(report));
    trial.stays(from, "the assignment is not current", reports).await?;
    let now = trial.count().await?;
    if now == count { Ok(()) } else { Err(Problem::Failed(format!("it had {count} containers, and has {now}"))) }
}

fn asks_about(said: &Said, instance: &Instance) -> Option<()> {
    matches!(said, Said::Confirm(it) if it.instance_id == instance.id).then_some(())
}

async fn asks_again(trial: &mut Trial) -> Result<(), Problem> {
    trial.installation.current.refuse_next(REFUSALS);
    let from = trial.mark();
    let created = trial.created().await;
    trial.installation.current.refuse_next(0);
    let (instance, _) = created?;
    let asked = trial.asked(from, &instance).len();
    if asked > REFUSALS as usize {
        Ok(())
    } else {
        Err(Problem::Failed(format!(
            "it created the container after {asked} questions, of which {REFUSALS} were refused"
        )))
    }
}

async fn says_that_files_are_lost(trial: &mut Trial) -> Result<(), Problem> {
    let instance = trial.instance();
    let lost = LOST
        .parse::<ContainerId>()
        .map_err(|_| Problem::Failed("the id of the lost container is invalid".to_owned()))?;
    let (count, from) = (trial.count().await?, trial.mark());
    trial.assign(&instance, &with_container(instance.assignment(DesiredState::Running, 1, 2), &lost)).await?;
    let is_lost = |report: &Report| match &report.kind {
        ReportKind::InstanceFailed(failed) if instance.is_about(report) => Some(failed.code.as_str().to_owned()),
        _ => None,
    };
    let code = trial.report(from, "`instance-failed` with the code `container_gone`", is_lost).await?;
    let now = trial.count().await?;
    match (code.as_str(), now == count) {
        ("container_gone", true) => Ok(()),
        ("container_gone", false) => Err(Problem::Failed(format!("it had {count} containers, and has {now}"))),
        _ => Err(Problem::Failed(format!("the code is {code}, not `container_gone`"))),
    }
}

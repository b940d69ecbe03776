//! Create, stop, resume, delete, and the same again.

use std::time::Duration;

use dockhost_domain::wire::{DesiredState, Observation, Phase};

use super::super::instance::{Instance, with_container};
use super::super::said::Said;
use super::super::trial::{Trial, report_of};
use super::{Check, Problem};

/// How long the broker takes to store what was sent again.
const STORED_WITHIN: Duration = Duration::from_secs(5);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "creates",
        rule: "it asks whether the assignment is current, creates the container, and reports that it runs",
        run: |trial| Box::pin(creates(trial)),
    },
    Check {
        name: "repeats-nothing",
        rule: "an assignment that comes again changes nothing",
        run: |trial| Box::pin(repeats_nothing(trial)),
    },
    Check {
        name: "stops-and-resumes",
        rule: "it stops the container and starts the same one again",
        run: |trial| Box::pin(stops_and_resumes(trial)),
    },
    Check {
        name: "acts-on-the-latest",
        rule: "of several assignments in a row, the last one counts",
        run: |trial| Box::pin(acts_on_the_latest(trial)),
    },
    Check {
        name: "reports-until-stored",
        rule: "it repeats a report with the same id until the broker has stored it",
        run: |trial| Box::pin(reports_until_stored(trial)),
    },
    Check {
        name: "deletes",
        rule: "it removes the container and says so, and again if it is asked again",
        run: |trial| Box::pin(deletes(trial)),
    },
];

async fn creates(trial: &mut Trial) -> Result<(), Problem> {
    let from = trial.mark();
    let (instance, _) = trial.created().await?;
    let said = trial.installation.said.since(from);
    let reported = said.iter().position(|said| report_of(said).is_some_and(|report| instance.is_about(report)));
    let asked = said.iter().position(
        |said| matches!(said, Said::Confirm(it) if it.instance_id == instance.id && (it.placement, it.generation) == (1, 1)),
    );
    if asked.is_none_or(|asked| reported.is_some_and(|reported| reported < asked)) {
        return Err(Problem::Failed("it created the container without a confirm before".to_owned()));
    }
    let owner = |said: &Said| report_of(said).filter(|report| instance.is_about(report)).map(|report| report.user_id);
    if said.iter().filter_map(owner).any(|user| user != instance.user) {
        return Err(Problem::Failed("a report has another `userId` than the assignment".to_owned()));
    }
    Ok(())
}

async fn repeats_nothing(trial: &mut Trial) -> Result<(), Problem> {
    let (instance, seen) = trial.created().await?;
    let (count, from) = (trial.count().await?, trial.mark());
    let assignment = instance.assignment(DesiredState::Running, 1, 1);
    for again in [assignment.clone(), with_container(assignment.clone(), &seen.container_id), assignment] {
        trial.assign(&instance, &again).await?;
    }
    let differs = |said: &Said| {
        report_of(said).is_some_and(|report| {
            instance.is_about(report)
                && instance.observed(report, Phase::Running, 1, 1).map(|it| it.container_id).as_ref()
                    != Some(&seen.container_id)
        })
    };
    trial.stays(from, "the running container is what is wanted", differs).await?;
    let now = trial.count().await?;
    if now == count { Ok(()) } else { Err(Problem::Failed(format!("it had {count} containers, and has {now}"))) }
}

async fn stops_and_resumes(trial: &mut Trial) -> Result<(), Problem> {
    let (instance, created) = trial.created().await?;
    let steps = [(2, DesiredState::Stopped, Phase::Stopped), (3, DesiredState::Running, Phase::Running)];
    for (generation, desired, phase) in steps {
        let from = trial.mark();
        let assignment = instance.assignment(desired, 1, generation);
        trial.assign(&instance, &with_container(assignment, &created.container_id)).await?;
        let seen = trial.observed(from, &instance, phase, (1, generation)).await?;
        if seen.container_id != created.container_id {
            return Err(Problem::Failed(format!("{phase:?} is another container than the one that was created")));
        }
        if !trial.asked(from, &instance).is_empty() {
            return Err(Problem::Failed("it asked whether it may create a container, although it has it".to_owned()));
        }
    }
    Ok(())
}

async fn acts_on_the_latest(trial: &mut Trial) -> Result<(), Problem> {
    let (instance, created) = trial.created().await?;
    let from = trial.mark();
    for (generation, desired) in [(2, DesiredState::Stopped), (3, DesiredState::Running), (4, DesiredState::Stopped)] {
        let assignment = instance.assignment(desired, 1, generation);
        trial.assign(&instance, &with_container(assignment, &created.container_id)).await?;
    }
    trial.observed(from, &instance, Phase::Stopped, (1, 4)).await?;
    let from = trial.mark();
    let runs = |said: &Said| {
        report_of(said)
            .is_some_and(|report| (1..=4).any(|it| instance.observed(report, Phase::Running, 1, it).is_some()))
    };
    trial.stays(from, "the container is to be stopped", runs).await
}

async fn reports_until_stored(trial: &mut Trial) -> Result<(), Problem> {
    let (instance, created) = trial.created().await?;
    trial.installation.remove_reports().await?;
    let repeated = repeats(trial, &instance, &created).await;
    trial.installation.make_reports().await?;
    let (from, id) = repeated?;
    let is_repeated = |said: &Said| matches!(said, Said::Report { id: Some(found), .. } if *found == id).then_some(());
    trial.wait(from, "the same report once more", is_repeated).await?;
    trial.installation.wait_for_stored_report(STORED_WITHIN).await?;
    Ok(())
}

/// Stops the container while no report is stored. Returns the id of the report that is repeated, and what was said by then.
async fn repeats(trial: &mut Trial, instance: &Instance, created: &Observation) -> Result<(usize, String), Problem> {
    let from = trial.mark();
    let stop = with_container(instance.assignment(DesiredState::Stopped, 1, 2), &created.container_id);
    trial.assign(instance, &stop).await?;
    let id_of = |said: &Said| match said {
        Said::Report { report, id, .. } => instance.observed(report, Phase::Stopped, 1, 2).and_then(|_| id.clone()),
        _ => None,
    };
    let first = trial.wait(from, "a report that the container is stopped", id_of).await?;
    let after = trial.mark();
    let again = trial.wait(after, "the same report again, because it is not stored", id_of).await?;
    if first != again {
        return Err(Problem::Failed(format!("the report has the id {again} when it is repeated, and had {first}")));
    }
    Ok((trial.mark(), again))
}

async fn deletes(trial: &mut Trial) -> Result<(), Problem> {
    let (instance, _) = trial.created().await?;
    let count = trial.count().await?;
    let from = trial.mark();
    let deleted = instance.assignment(DesiredState::Deleted, 1, 2);
    trial.assign(&instance, &deleted).await?;
    trial.deleted(from, &instance, 1).await?;
    trial.containers(from, |now| now < count, "a container less").await?;
    let from = trial.mark();
    trial.assign(&instance, &deleted).await?;
    let differs = |said: &Said| {
        report_of(said).is_some_and(|report| instance.is_about(report) && !instance.is_deleted(report, 1))
    };
    trial.stays(from, "there is nothing to be deleted any more", differs).await
}

//! The backend, its connection and another agent come and go.

use std::time::Duration;

use dockhost_domain::subject::Channel;
use dockhost_domain::wire::{DesiredState, Phase, Report, ReportKind};

use super::super::instance::with_container;
use super::super::said::Said;
use super::super::trial::{Trial, report_of};
use super::{Check, Problem};

/// A hello is answered by then.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "connects-again",
        rule: "it connects again after the broker was restarted, and goes on",
        run: |trial| Box::pin(connects_again(trial)),
    },
    Check {
        name: "finds-its-containers",
        rule: "after a crash it finds its containers, with another `agentRun`, and creates none twice",
        run: |trial| Box::pin(finds_its_containers(trial)),
    },
    Check {
        name: "leaves-in-order",
        rule: "when it is asked to end, its last heartbeat says `leaving`, and its containers stay",
        run: |trial| Box::pin(leaves_in_order(trial)),
    },
    Check {
        name: "keeps-what-nobody-mentions",
        rule: "it reports a container without an assignment with generation 0, and removes it only if it is told to",
        run: |trial| Box::pin(keeps_what_nobody_mentions(trial)),
    },
    Check {
        name: "waits-for-the-holder",
        rule: "while another agent with its key is connected, it sends nothing but hellos, and takes over afterwards",
        run: |trial| Box::pin(waits_for_the_holder(trial)),
    },
];

fn is_hello(said: &Said) -> Option<()> {
    matches!(said, Said::Hello(_)).then_some(())
}

async fn connects_again(trial: &mut Trial) -> Result<(), Problem> {
    let (instance, created) = trial.created().await?;
    let from = trial.mark();
    trial.installation.restart_broker().await?;
    trial.wait(from, "a hello on a new connection", is_hello).await?;
    let from = trial.mark();
    let stop = with_container(instance.assignment(DesiredState::Stopped, 1, 2), &created.container_id);
    trial.assign(&instance, &stop).await?;
    trial.observed(from, &instance, Phase::Stopped, (1, 2)).await?;
    Ok(())
}

async fn finds_its_containers(trial: &mut Trial) -> Result<(), Problem> {
    let run = |said: &Said| if let Said::Hello(hello) = said { Some(hello.agent_run) } else { None };
    let (instance, created) = trial.created().await?;
    let count = trial.count().await?;
    let before = trial.installation.said.since(0).iter().filter_map(run).next_back();
    trial.kill_backend().await?;
    let from = trial.mark();
    let stop = with_container(instance.assignment(DesiredState::Stopped, 1, 2), &created.container_id);
    trial.assign(&instance, &stop).await?;
    trial.start_backend()?;
    if Some(trial.wait(from, "a hello", run).await?) == before {
        return Err(Problem::Failed("it has the `agentRun` of the process before".to_owned()));
    }
    let seen = trial.observed(from, &instance, Phase::Stopped, (1, 2)).await?;
    if seen.container_id != created.container_id {
        return Err(Problem::Failed("it has another container than before the crash".to_owned()));
    }
    let now = trial.count().await?;
    if now == count { Ok(()) } else { Err(Problem::Failed(format!("it had {count} containers, and has {now}"))) }
}

async fn leaves_in_order(trial: &mut Trial) -> Result<(), Problem> {
    let (instance, created) = trial.created().await?;
    let from = trial.mark();
    trial.stop_backend().await?;
    let leaves = |said: &Said| matches!(said, Said::Heartbeat(it) if it.leaving).then_some(());
    let left = trial.wait(from, "a heartbeat with `leaving`", leaves).await;
    trial.start_backend()?;
    left?;
    let from = trial.mark();
    let again = with_container(instance.assignment(DesiredState::Running, 1, 2), &created.container_id);
    trial.assign(&instance, &again).await?;
    let seen = trial.observed(from, &instance, Phase::Running, (1, 2)).await?;
    if seen.container_id == created.container_id {
        Ok(())
    } else {
        Err(Problem::Failed("it has another container than before it ended".to_owned()))
    }
}

async fn keeps_what_nobody_mentions(trial: &mut Trial) -> Result<(), Problem> {
    let (instance, created) = trial.created().await?;
    trial.stop_backend().await?;
    trial.installation.forget(&Channel::assignments_of(trial.installation.backend())).await?;
    let from = trial.mark();
    trial.start_backend()?;
    let is_unknown = |report: &Report| match &report.kind {
        ReportKind::InstanceStatus(seen) if instance.is_about(report) && report.generation == 0 => Some(seen.clone()),
        _ => None,
    };
    let seen = trial.report(from, "`instance-status` with generation 0", is_unknown).await?;
    if seen.container_id != created.container_id {
        return Err(Problem::Failed("it reports another container than the one that it has".to_owned()));
    }
    let removes = |said: &Said| report_of(said).is_some_and(|report| instance.is_deleted(report, 1));
    trial.stays(from, "nobody has asked for the removal of the container", removes).await?;
    let from = trial.mark();
    trial.assign(&instance, &instance.assignment(DesiredState::Deleted, 1, 0)).await?;
    trial.deleted(from, &instance, 1).await
}

async fn waits_for_the_holder(trial: &mut Trial) -> Result<(), Problem> {
    trial.stop_backend().await?;
    trial.installation.hold_by_another().await?;
    let waited = waits(trial).await;
    trial.installation.release().await?;
    waited?;
    let from = trial.mark();
    let is_heartbeat = |said: &Said| matches!(said, Said::Heartbeat(_)).then_some(());
    trial.wait(from, "a heartbeat, once the other agent is gone", is_heartbeat).await?;
    trial.created().await.map(drop)
}

/// Starts the backend while another agent holds it.
async fn waits(trial: &mut Trial) -> Result<(), Problem> {
    let from = trial.mark();
    trial.start_backend()?;
    trial.wait(from, "a hello", is_hello).await?;
    // The answer has to arrive first.
    tokio::time::sleep(ANSWERED_WITHIN).await;
    let from = trial.mark();
    let acts = |said: &Said| !matches!(said, Said::Hello(_));
    trial.stays(from, "its hello was refused with 409, after which it sends nothing but hellos", acts).await
}

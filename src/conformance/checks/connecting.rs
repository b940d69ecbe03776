//! Hello, heartbeats, and the form of all messages.

use std::time::Duration;

use super::super::said::Said;
use super::super::trial::Trial;
use super::{Check, Problem};

/// Heartbeats are due every 5 s; this allows for a busy machine.
const BETWEEN_HEARTBEATS: Duration = Duration::from_secs(8);

pub(super) const CONNECTS: Check = Check {
    name: "connects",
    rule: "it connects with its key and says hello with an `agentRun`",
    run: |trial| Box::pin(connects(trial)),
};

pub(super) const CHECKS: &[Check] = &[
    CONNECTS,
    Check {
        name: "sends-heartbeats",
        rule: "it sends a heartbeat every 5 s, with the `agentRun` of its hello",
        run: |trial| Box::pin(sends_heartbeats(trial)),
    },
];

/// Looks back at everything.
pub(super) const LAST: &[Check] = &[Check {
    name: "well-formed",
    rule: "all its messages are valid, and each report has an id and the run",
    run: |trial| Box::pin(well_formed(trial)),
}];

async fn connects(trial: &mut Trial) -> Result<(), Problem> {
    let has_run = |said: &Said| match said {
        Said::Hello(hello) => Some(hello.agent_run.is_some()),
        _ => None,
    };
    if trial.wait(0, "a hello", has_run).await? {
        Ok(())
    } else {
        Err(Problem::Failed("the hello has no `agentRun`".to_owned()))
    }
}

async fn sends_heartbeats(trial: &mut Trial) -> Result<(), Problem> {
    let run = trial.wait(0, "a hello", |said| if let Said::Hello(hello) = said { Some(hello.agent_run) } else { None });
    let run = run.await?;
    let is_heartbeat = |said: &Said| match said {
        Said::Heartbeat(heartbeat) => Some(heartbeat.agent_run),
        _ => None,
    };
    if trial.wait(0, "a heartbeat", is_heartbeat).await? != run {
        return Err(Problem::Failed("the heartbeat has another `agentRun` than the hello".to_owned()));
    }
    for _ in 0..2 {
        let from = trial.mark();
        if trial.installation.said.find(from, BETWEEN_HEARTBEATS, is_heartbeat).await.is_none() {
            let seconds = BETWEEN_HEARTBEATS.as_secs();
            return Err(Problem::Failed(format!("there was no heartbeat for {seconds} s")));
        }
    }
    Ok(())
}

async fn well_formed(trial: &mut Trial) -> Result<(), Problem> {
    let bad = trial.installation.said.since(0).into_iter().find_map(|said| match said {
        Said::Invalid(problem) => Some(problem),
        Said::Report { id, run, .. } if id.as_ref().is_none_or(|id| id.len() < 16) || run.is_none() => {
            Some(format!("a report has the id {id:?} and the run {run:?}"))
        }
        _ => None,
    });
    bad.map_or(Ok(()), |problem| Err(Problem::Failed(problem)))
}

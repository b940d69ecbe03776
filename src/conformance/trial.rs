//! What checks do and wait for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::ids::InstanceId;
use dockhost_domain::subject::Channel;
use dockhost_domain::wire::{Assignment, Confirm, DesiredState, Observation, Phase, Report};
use serde_json::json;

use crate::common::error::Cause;
use crate::dev::process::{Child, Program, Signal};

use super::checks::Problem;
use super::installation::Installation;
use super::instance::Instance;
use super::said::Said;

/// For how long nothing may happen: longer than a backend takes to look at its containers again.
const QUIET: Duration = Duration::from_secs(6);
/// How long a backend may take to end in order.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long a check waits for what is left to be removed.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(10);
/// Messages that a failure quotes.
const QUOTED: usize = 4;

/// The installation, the backend, and what the present check has made.
pub struct Trial {
    /// The broker, and what is played on it.
    pub installation: Installation,
    program: Option<Program>,
    child: Option<Child>,
    image: Option<Arc<str>>,
    within: Duration,
    /// The highest placement and generation that were assigned in this check.
    assigned: BTreeMap<InstanceId, (Instance, u32, u32)>,
}

impl Trial {
    /// Starts the backend, if it has a program.
    ///
    /// # Errors
    /// If the program can't be started.
    pub fn new(
        installation: Installation,
        program: Option<Program>,
        image: Option<String>,
        within: Duration,
    ) -> Result<Self, Cause> {
        let child = program.clone().map(Program::start).transpose()?;
        let image = image.map(Into::into);
        Ok(Self { installation, program, child, image, within, assigned: BTreeMap::new() })
    }

    /// Stops the backend.
    pub async fn end(self) {
        if let Some(child) = self.child {
            child.stop(STOP_WITHIN).await;
        }
    }

    /// Begins a check: the stream of reports is empty.
    pub async fn prepare(&mut self) -> Result<(), Problem> {
        self.assigned.clear();
        Ok(self.installation.forget(&Channel::assignments_of(self.installation.backend())).await?)
    }

    /// Ends a check: has its containers removed, as far as the backend does it.
    pub async fn clean_up(&mut self) {
        let from = self.mark();
        for (instance, placement, generation) in std::mem::take(&mut self.assigned).into_values() {
            let deleted = instance.assignment(DesiredState::Deleted, placement, generation + 1);
            if let Err(problem) = self.assign(&instance, &deleted).await {
                tracing::warn!(?problem, "a container is left");
                continue;
            }
            let is_deleted =
                |said: &Said| report_of(said).filter(|report| instance.is_deleted(report, placement)).map(|_| ());
            self.installation.said.find(from, CLEAN_UP_WITHIN, is_deleted).await;
        }
        self.assigned.clear();
    }

    /// A new instance.
    pub fn instance(&self) -> Instance {
        Instance::new(self.image.clone())
    }

    /// What is said from now on comes after this.
    pub fn mark(&self) -> usize {
        self.installation.said.mark()
    }

    /// Assigns, as the dispatcher does.
    pub async fn assign(&mut self, instance: &Instance, assignment: &Assignment) -> Result<(), Problem> {
        let (placement, generation) = (assignment.placement, assignment.generation);
        self.installation.current.set(instance.id, placement, generation);
        self.assigned.insert(instance.id, (instance.clone(), placement, generation));
        self.deliver(assignment).await
    }

    /// Delivers an assignment that need not be the current one.
    pub async fn deliver(&self, assignment: &Assignment) -> Result<(), Problem> {
        let mut body = serde_json::to_value(assignment).map_err(Cause::from)?;
        // A later server may say more.
        body["futureMember"] = json!({ "must": "be ignored" });
        let subject = Channel::Assignment(self.installation.backend(), assignment.instance_id).to_string();
        Ok(self.installation.publish(subject, body.to_string().into_bytes()).await?)
    }

    /// Creates the container of a new instance; returns the instance and what was reported.
    pub async fn created(&mut self) -> Result<(Instance, Observation), Problem> {
        let (instance, from) = (self.instance(), self.mark());
        self.assign(&instance, &instance.assignment(DesiredState::Running, 1, 1)).await?;
        let seen = self.observed(from, &instance, Phase::Running, (1, 1)).await?;
        Ok((instance, seen))
    }

    /// Waits for a message.
    pub async fn wait<T>(&mut self, from: usize, what: &str, find: impl Fn(&Said) -> Option<T>) -> Result<T, Problem> {
        if let Some(found) = self.installation.said.find(from, self.within, find).await {
            return Ok(found);
        }
        if let Some(Err(exited)) = self.child.as_mut().map(Child::check) {
            return Err(Problem::Failed(format!("expected {what}, but the backend ended: {exited}")));
        }
        let seconds = self.within.as_secs();
        Err(Problem::Failed(format!("expected {what} within {seconds} s; it said {}", self.quote(from))))
    }

    /// Waits for a report.
    pub async fn report<T>(
        &mut self,
        from: usize,
        what: &str,
        find: impl Fn(&Report) -> Option<T>,
    ) -> Result<T, Problem> {
        self.wait(from, what, |said| report_of(said).and_then(&find)).await
    }

    /// Waits for the report of a phase.
    pub async fn observed(
        &mut self,
        from: usize,
        instance: &Instance,
        phase: Phase,
        (placement, generation): (u32, u32),
    ) -> Result<Observation, Problem> {
        let what = format!("a report of phase {phase:?} with placement {placement} and generation {generation}");
        self.report(from, &what, |report| instance.observed(report, phase, placement, generation)).await
    }

    /// Waits for a report that no container of this placement exists.
    pub async fn deleted(&mut self, from: usize, instance: &Instance, placement: u32) -> Result<(), Problem> {
        let what = format!("`instance-deleted` of placement {placement}");
        self.report(from, &what, |report| instance.is_deleted(report, placement).then_some(())).await
    }

    /// Waits until a heartbeat says that there are so many containers; returns their number.
    pub async fn containers(&mut self, from: usize, wanted: impl Fn(u32) -> bool, what: &str) -> Result<u32, Problem> {
        self.wait(from, &format!("a heartbeat with {what}"), |said| match said {
            Said::Heartbeat(heartbeat) => Some(heartbeat.containers).filter(|count| wanted(*count)),
            _ => None,
        })
        .await
    }

    /// The number of containers in the next heartbeat.
    pub async fn count(&mut self) -> Result<u32, Problem> {
        let from = self.mark();
        self.containers(from, |_| true, "the number of containers").await
    }

    /// Waits for a while, and fails if `forbidden` finds something in what was said after `from`.
    pub async fn stays(&self, from: usize, what: &str, forbidden: impl Fn(&Said) -> bool) -> Result<(), Problem> {
        match self.installation.said.find(from, QUIET, |said| forbidden(said).then(|| quote(said))).await {
            Some(said) => Err(Problem::Failed(format!("{what}, but it said {said}"))),
            None => Ok(()),
        }
    }

    /// Whether a question about an instance was asked after `from`.
    pub fn asked(&self, from: usize, instance: &Instance) -> Vec<Confirm> {
        let said = self.installation.said.since(from);
        let questions = said.into_iter().filter_map(|said| match said {
            Said::Confirm(question) if question.instance_id == instance.id => Some(question),
            _ => None,
        });
        questions.collect()
    }

    /// Kills the backend, as a crash does.
    pub async fn kill_backend(&mut self) -> Result<(), Problem> {
        self.child.take().ok_or_else(no_program)?.kill().await;
        Ok(())
    }

    /// Asks the backend to end.
    pub async fn stop_backend(&mut self) -> Result<(), Problem> {
        let mut child = self.child.take().ok_or_else(no_program)?;
        child.signal(Signal::Term).await.map_err(Cause::from)?;
        match tokio::time::timeout(STOP_WITHIN, child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Problem::Failed(format!("it does not end within {} s of SIGTERM", STOP_WITHIN.as_secs()))),
        }
    }

    /// Starts the backend if it does not run.
    pub fn start_backend(&mut self) -> Result<(), Problem> {
        if self.child.is_none() {
            let program = self.program.clone().ok_or_else(no_program)?;
            self.child = Some(program.start().map_err(Cause::from)?);
        }
        Ok(())
    }

    /// What was said last after `from`.
    fn quote(&self, from: usize) -> String {
        let said = self.installation.said.since(from);
        let quoted: Vec<_> = said.iter().filter(|said| !matches!(said, Said::Heartbeat(_))).map(quote).collect();
        match quoted.len() {
            0 => "nothing but heartbeats, or nothing at all".to_owned(),
            count => quoted[count.saturating_sub(QUOTED)..].join("; "),
        }
    }
}

fn no_program() -> Problem {
    Problem::skipped("it needs the program of the backend, to stop and start it: dockhost conformance -- PROGRAM")
}

/// The report that was said.
pub fn report_of(said: &Said) -> Option<&Report> {
    if let Said::Report { report, .. } = said { Some(report) } else { None }
}

fn quote(said: &Said) -> String {
    let json = |kind: &str, body: Result<String, serde_json::Error>| format!("{kind} {}", body.unwrap_or_default());
    match said {
        Said::Hello(hello) => json("hello", serde_json::to_string(hello)),
        Said::Confirm(confirm) => json("confirm", serde_json::to_string(confirm)),
        Said::Report { report, .. } => json("report", serde_json::to_string(report)),
        Said::Heartbeat(heartbeat) => json("heartbeat", serde_json::to_string(heartbeat)),
        Said::Invalid(problem) => problem.clone(),
    }
}

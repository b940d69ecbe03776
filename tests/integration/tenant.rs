//! One user with one instance on one backend, changed by commands on an executor, as HTTP handlers and the intake do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dockhost::common::clock;
use dockhost::execute::Executor;
use dockhost_domain::backend::{EnrolBackend, Enrolled};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::labels::Labels;
use dockhost_domain::names::Username;
use dockhost_domain::placement::Candidate;
use dockhost_domain::quota::Quota;
use dockhost_domain::tenancy::{
    ChangeInstance, Facts, HandleReport, Lifetime, OnLost, Policy, ReportPosition, RequestInstance, Tenancy,
};
use dockhost_domain::wire::{DesiredState, Limits, Report, ReportKind, RestartPolicy};

pub struct Tenant {
    pub user_id: UserId,
    pub instance_id: InstanceId,
    pub backend_id: BackendId,
    reports: AtomicU64,
}

pub fn origin() -> Origin {
    Origin::new(Actor::System, "test")
}

impl Tenant {
    pub fn new(backend_id: BackendId) -> Self {
        let user_id = UserId::from_uuid(clock::fresh_uuid());
        let instance_id = InstanceId::from_uuid(clock::fresh_uuid());
        Self { user_id, instance_id, backend_id, reports: AtomicU64::new(0) }
    }

    fn facts(&self) -> Facts {
        let candidates = vec![Candidate::new(self.backend_id, 8)];
        Facts { now: clock::now(), policy: Policy::default(), candidates, tie_breaker: 0 }
    }

    /// Registers the backend, with room for eight containers.
    pub async fn enrol_backend(&self, executor: &Arc<Executor>) {
        let enrol = EnrolBackend(Enrolled {
            username: "lab-1".parse::<Username>().unwrap().into(),
            password_verifier: "none".to_owned().into(),
            lab_name: None,
            operating_system: None,
            max_containers: 8,
            key_version: 1,
            awaits_approval: false,
            token: None,
        });
        assert!(executor.execute(self.backend_id, origin(), enrol).await.unwrap().stored.is_some());
    }

    /// Requests the instance.
    pub async fn request(&self, executor: &Arc<Executor>) {
        self.request_with(executor, OnLost::Wait).await;
    }

    /// The same, with what happens if its backend is lost.
    pub async fn request_with(&self, executor: &Arc<Executor>, on_lost: OnLost) {
        let command = RequestInstance {
            instance_id: self.instance_id,
            name: None,
            username: "ada".parse().unwrap(),
            ssh_public_key: "key".to_owned(),
            further_keys: Vec::new(),
            image: None,
            limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
            restart: RestartPolicy::default(),
            requires: Labels::default(),
            size: None,
            on_lost,
            lifetime: Lifetime::default(),
            idempotency: None,
            quota: Quota::default(),
            facts: self.facts(),
        };
        assert!(executor.execute(self.user_id, origin(), command).await.unwrap().stored.is_some());
    }

    /// Stops, resumes or deletes the instance.
    pub async fn change(&self, executor: &Arc<Executor>, to: DesiredState) {
        let (now, policy) = (clock::now(), Policy::default());
        let command = ChangeInstance { instance_id: self.instance_id, to, now, policy };
        assert!(executor.execute(self.user_id, origin(), command).await.unwrap().stored.is_some());
    }

    /// The backend reports on the current placement and generation; whether that stored an event.
    pub async fn report(&self, executor: &Arc<Executor>, kind: ReportKind) -> bool {
        let tenancy = executor.confirmed::<Tenancy>(self.user_id).await.unwrap();
        let instance = tenancy.state.instance(self.instance_id).unwrap();
        let report = Report {
            instance_id: self.instance_id,
            user_id: self.user_id,
            placement: instance.placement,
            generation: instance.generation,
            kind,
        };
        let sequence = self.reports.fetch_add(1, Ordering::Relaxed) + 1;
        let position = ReportPosition { incarnation: 1, sequence };
        let command = HandleReport { backend_id: self.backend_id, report, position, facts: self.facts() };
        executor.execute(self.user_id, origin(), command).await.unwrap().stored.is_some()
    }
}

//! The steps of one seeded user: commands and the reports of the backend that follow from them.

use dockhost::common::clock;
use dockhost_domain::account::{Account, CreateAccount, Created, Role};
use dockhost_domain::claim::{Claim, TakeClaim};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::labels::Labels;
use dockhost_domain::names::Username;
use dockhost_domain::quota::Quota;
use dockhost_domain::reported::{HostKeys, ShortText};
use dockhost_domain::session::{RevokeSession, Sessions};
use dockhost_domain::subject::ClaimKind;
use dockhost_domain::tenancy::{
    ChangeInstance, HandleReport, Idempotency, Policy, ReportPosition, RequestInstance, Tenancy,
};
use dockhost_domain::wire::{
    AgentError, DesiredState, Limits, Observation, Phase, Ports, Report, ReportKind, RestartPolicy,
};

use super::{Person, Plan, Seed};
use crate::http::SSH_KEY;

/// Of this many users in a row, each of some has a different extra step.
const EXTRA_STEP_CYCLE: usize = 10;
/// The extra step and its end.
const EXTRA_STEPS: usize = 2;

/// The number of steps.
pub fn steps(plan: Plan) -> usize {
    plan.instances * (1 + 2 * plan.cycles) + EXTRA_STEPS
}

/// A user while being seeded.
pub struct Life {
    number: usize,
    id: UserId,
    name: Username,
    tenancy: Tenancy,
    sessions: Sessions,
    instances: Vec<InstanceId>,
    /// An instance to be deleted.
    to_delete: Option<InstanceId>,
}

impl Life {
    /// Signs the user up.
    pub fn begin(seed: &mut Seed) -> Self {
        seed.people += 1;
        let number = seed.people;
        let name: Username = format!("person-{number}").parse().unwrap();
        let email = format!("{name}@example.org");
        let id = UserId::from_uuid(clock::fresh_uuid());
        for (kind, text) in [(ClaimKind::Username, name.as_str()), (ClaimKind::Email, email.as_str())] {
            let claim = seed.log.keyring().claim(kind, text);
            seed.decide(claim, &mut Claim::default(), Actor::Anonymous, &TakeClaim { owner: id.into() });
        }
        let details = Created {
            username: name.clone().into(),
            email: email.into(),
            password_verifier: seed.verifier.clone().into(),
            ssh_public_key: Some(SSH_KEY.to_owned().into()),
            role: Role::User,
            group_id: None,
        };
        seed.decide(id, &mut Account::default(), Actor::Anonymous, &CreateAccount(details));
        let mut sessions = Sessions::default();
        let start = seed.session();
        seed.decide(id.into(), &mut sessions, Actor::Anonymous, &start);
        let (tenancy, instances) = (Tenancy::default(), Vec::new());
        Self { number, id, name, tenancy, sessions, instances, to_delete: None }
    }

    /// The seeded user.
    pub fn person(self) -> Person {
        Person { id: self.id, name: self.name, instances: self.instances }
    }

    /// One step: creates the instances, then stops and resumes each, then takes the extra step.
    pub fn step(&mut self, seed: &mut Seed, plan: Plan, step: usize) {
        let changes = 2 * plan.cycles * plan.instances;
        if step < plan.instances {
            self.create(seed);
        } else if step < plan.instances + changes {
            // All are stopped, then all resumed.
            let change = step - plan.instances;
            self.change_nth(seed, change % plan.instances, !(change / plan.instances).is_multiple_of(2));
        } else if step == plan.instances + changes {
            match self.number % EXTRA_STEP_CYCLE {
                1 => self.to_delete = Some(self.request(seed)),
                2 => self.sign_in_and_out(seed),
                _ => {}
            }
        } else if let Some(to_delete) = self.to_delete.take() {
            self.delete(seed, to_delete);
        }
    }

    /// Creates a running instance.
    pub fn create(&mut self, seed: &mut Seed) {
        let id = self.request(seed);
        if self.number % EXTRA_STEP_CYCLE == 3 && self.instances.is_empty() && seed.machines.len() > 1 {
            let error =
                AgentError { code: ShortText::cleaned("no_ports"), message: ShortText::cleaned("no free ports") };
            self.report(seed, id, ReportKind::InstanceRefused(error));
        }
        self.report(seed, id, ReportKind::InstanceCreated(observed(id, Phase::Running)));
        self.instances.push(id);
    }

    /// Stops or resumes the first instance.
    pub fn change(&mut self, seed: &mut Seed, resume: bool) {
        self.change_nth(seed, 0, resume);
    }

    fn change_nth(&mut self, seed: &mut Seed, nth: usize, resume: bool) {
        let id = self.instances[nth];
        let (to, phase) =
            if resume { (DesiredState::Running, Phase::Running) } else { (DesiredState::Stopped, Phase::Stopped) };
        self.change_to(seed, id, to);
        self.report(seed, id, ReportKind::InstanceStatus(observed(id, phase)));
    }

    fn request(&mut self, seed: &mut Seed) -> InstanceId {
        let instance_id = InstanceId::from_uuid(clock::fresh_uuid());
        let hash = |text: &str| format!("{text:0>64}");
        let idempotency = Idempotency { key: hash(&instance_id.uuid().simple().to_string()), request: hash("0") };
        let command = RequestInstance {
            instance_id,
            name: None,
            username: self.name.clone(),
            ssh_public_key: SSH_KEY.to_owned(),
            further_keys: Vec::new(),
            image: None,
            limits: Limits { memory_mib: 512, cpu_millis: 1000, pids: 256 },
            restart: RestartPolicy::default(),
            requires: Labels::default(),
            size: None,
            on_lost: dockhost_domain::tenancy::OnLost::Wait,
            lifetime: dockhost_domain::tenancy::Lifetime::default(),
            idempotency: (self.number % EXTRA_STEP_CYCLE == 4).then_some(idempotency),
            quota: Quota::default(),
            facts: seed.facts(),
        };
        seed.decide(self.id, &mut self.tenancy, Actor::User(self.id), &command);
        self.occupy(seed, instance_id);
        instance_id
    }

    fn change_to(&mut self, seed: &mut Seed, instance_id: InstanceId, to: DesiredState) {
        let command = ChangeInstance { instance_id, to, now: seed.now, policy: Policy::default() };
        seed.decide(self.id, &mut self.tenancy, Actor::User(self.id), &command);
    }

    fn delete(&mut self, seed: &mut Seed, instance_id: InstanceId) {
        self.change_to(seed, instance_id, DesiredState::Deleted);
        let machine = self.machine(instance_id);
        self.report(seed, instance_id, ReportKind::InstanceDeleted);
        if let Some(machine) = seed.machines.iter_mut().find(|candidate| candidate.backend_id == machine) {
            machine.used -= 1;
        }
    }

    /// Signs in again and out.
    fn sign_in_and_out(&mut self, seed: &mut Seed) {
        let start = seed.session();
        let session_id = start.0.session_id;
        seed.decide(self.id.into(), &mut self.sessions, Actor::User(self.id), &start);
        seed.decide(self.id.into(), &mut self.sessions, Actor::User(self.id), &RevokeSession { session_id });
    }

    /// Handles a report of the instance's backend.
    fn report(&mut self, seed: &mut Seed, instance_id: InstanceId, kind: ReportKind) {
        seed.reports += 1;
        let backend_id = self.machine(instance_id);
        let instance = self.tenancy.instance(instance_id).unwrap();
        let (placement, generation) = (instance.placement, instance.generation);
        let refused = matches!(kind, ReportKind::InstanceRefused(_));
        let report = Report { instance_id, user_id: self.id, placement, generation, kind };
        // Older than any stream.
        let position = ReportPosition { incarnation: 1, sequence: seed.reports };
        let command = HandleReport { backend_id, report, position, facts: seed.facts() };
        seed.decide(self.id, &mut self.tenancy, Actor::Backend(backend_id), &command);
        if refused {
            // It is placed elsewhere; the first backend confirms that it has no container.
            self.occupy(seed, instance_id);
            let report =
                Report { instance_id, user_id: self.id, placement, generation, kind: ReportKind::InstanceDeleted };
            seed.reports += 1;
            let position = ReportPosition { incarnation: 1, sequence: seed.reports };
            let command = HandleReport { backend_id, report, position, facts: seed.facts() };
            seed.decide(self.id, &mut self.tenancy, Actor::Backend(backend_id), &command);
            if let Some(machine) = seed.machines.iter_mut().find(|candidate| candidate.backend_id == backend_id) {
                machine.used -= 1;
            }
        }
    }

    fn machine(&self, instance_id: InstanceId) -> BackendId {
        let instance = self.tenancy.instance(instance_id).unwrap();
        instance.current_placement.as_ref().expect("the instance is placed").backend_id
    }

    /// Counts the instance on its backend.
    fn occupy(&self, seed: &mut Seed, instance_id: InstanceId) {
        let machine = self.machine(instance_id);
        if let Some(machine) = seed.machines.iter_mut().find(|candidate| candidate.backend_id == machine) {
            machine.used += 1;
        }
    }
}

/// What the backend observes; always the same container and ports.
fn observed(id: InstanceId, phase: Phase) -> Observation {
    let port = 20_000 + u16::try_from(id.uuid().as_u128() % 3000).unwrap() * 3;
    Observation {
        phase,
        container_id: id.uuid().simple().to_string().parse().unwrap(),
        ports: Ports { ssh: port, http: port + 1, https: port + 2 },
        host_keys: HostKeys::of(["SHA256:0000000000000000000000000000000000000000000"]),
        ended: None,
    }
}

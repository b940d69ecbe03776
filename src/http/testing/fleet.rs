//! Backends of the service under test, and what their agents and administrators do.

use std::time::Duration;

use dockhost_domain::aggregate::Command;
use dockhost_domain::backend::{Backend, ChangeCordon, Connected, EnrolBackend, Enrolled, MarkConnected};
use dockhost_domain::enrolment::{CreateToken, TokenCreated, TokenHash};
use dockhost_domain::group::{CreateGroup, Group, GroupSet};
use dockhost_domain::ids::{BackendId, EnrolmentTokenId, GroupId, InvitationId, UserId, WebhookId};
use dockhost_domain::invitation::{CreateInvitation, InvitationCreated};
use dockhost_domain::labels::Labels;
use dockhost_domain::subject::{AllEnrolmentTokens, AllGroups, AllInvitations};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::webhook::AddWebhook;
use dockhost_domain::wire::{Heartbeat, MachineSize, MachineStatus};

use super::{Caller, TestApp, origin};
use crate::auth::api_key::ApiKeyId;
use crate::common::clock;
use crate::webhooks::signature;

impl TestApp {
    /// A registered backend, signed in, whose agent has not connected.
    pub async fn backend(&self, name: &str, max_containers: u32) -> Caller<BackendId> {
        let id = self.enrol(name, max_containers, false).await;
        Caller { id, token: self.backend_session(id).await }
    }

    /// The token of a new session of a backend.
    pub async fn backend_session(&self, backend: BackendId) -> String {
        self.session(backend.into(), &self.app.backend_tokens).await
    }

    /// The current API key of a backend's agent.
    pub async fn api_key(&self, backend_id: BackendId) -> String {
        let backend = self.app.executor.confirmed::<Backend>(backend_id).await.unwrap();
        let machine = backend.state.machine.as_ref().unwrap();
        let id = ApiKeyId { backend_id, version: machine.key_version() };
        self.app.api_keys.derive(id, machine.enrolled_at).unwrap()
    }

    /// A registered backend that awaits approval.
    pub async fn pending_backend(&self, name: &str) -> BackendId {
        self.enrol(name, 5, true).await
    }

    async fn enrol(&self, name: &str, max_containers: u32, awaits_approval: bool) -> BackendId {
        let id = BackendId::from_uuid(clock::fresh_uuid());
        let enrol = EnrolBackend(Enrolled {
            username: name.parse::<dockhost_domain::names::Username>().unwrap().into(),
            password_verifier: "none".to_owned().into(),
            lab_name: None,
            operating_system: None,
            max_containers,
            key_version: 1,
            awaits_approval,
            token: None,
        });
        self.app.executor.execute(id, origin(), enrol).await.unwrap();
        id
    }

    /// An enrolment token that nobody knows.
    pub async fn enrolment_token(&self, by: UserId) -> EnrolmentTokenId {
        let (token_id, now) = (EnrolmentTokenId::from_uuid(clock::fresh_uuid()), clock::now());
        let hash = TokenHash::from_digest([0; 32]);
        let expires_at = now.after(Duration::from_secs(3600));
        let token = TokenCreated { token_id, hash, by, expires_at, max_containers: None, labels: Labels::default() };
        self.app.executor.execute(AllEnrolmentTokens, origin(), CreateToken { token, now }).await.unwrap();
        token_id
    }

    /// A group.
    pub async fn group(&self, name: &str) -> GroupId {
        let group_id = GroupId::from_uuid(clock::fresh_uuid());
        let group = Group {
            name: name.parse().unwrap(),
            max_instances: None,
            max_cpu_millis: None,
            max_memory_mib: None,
            ends_at: None,
            time_to_live_minutes: None,
            autostop_minutes: None,
        };
        self.app.executor.execute(AllGroups, origin(), CreateGroup(GroupSet { group_id, group })).await.unwrap();
        group_id
    }

    /// An invitation whose token nobody knows.
    pub async fn invitation(&self, by: UserId) -> InvitationId {
        let (invitation_id, now) = (InvitationId::from_uuid(clock::fresh_uuid()), clock::now());
        let hash = TokenHash::from_digest([0; 32]);
        let expires_at = now.after(Duration::from_secs(3600));
        let invitation = InvitationCreated {
            invitation_id,
            hash,
            by,
            expires_at,
            max_instances: None,
            max_cpu_millis: None,
            max_memory_mib: None,
            group_id: None,
        };
        self.app.executor.execute(AllInvitations, origin(), CreateInvitation { invitation, now }).await.unwrap();
        invitation_id
    }

    /// A webhook of a user, to an address that is never called.
    pub async fn webhook(&self, user: UserId) -> WebhookId {
        let webhook_id = WebhookId::from_uuid(clock::fresh_uuid());
        let url = "https://127.0.0.1/hook".parse().unwrap();
        let add = AddWebhook { webhook_id, url, signing_secret: signature::generate(), filter: None, after: 0 };
        self.app.executor.execute(user, origin(), add).await.unwrap();
        webhook_id
    }

    /// An administrator cordons or uncordons the backend.
    pub async fn cordon(&self, backend: BackendId, cordoned: bool) {
        self.execute(backend, ChangeCordon { cordoned }).await;
    }

    /// Executes a command on a backend, and waits until this replica knows of it.
    pub async fn execute<C: Command<Aggregate = Backend> + Clone + 'static>(&self, backend: BackendId, command: C) {
        let done = self.app.executor.execute(backend, origin(), command).await.unwrap();
        self.app.follower.wait_until_applied(done.current.sequence).await;
    }

    /// The backend's agent sends a heartbeat.
    pub fn beat(&self, backend: BackendId, machine: MachineStatus) {
        self.beat_with(backend, machine, None);
    }

    /// The same from a machine of this size.
    pub fn beat_with(&self, backend: BackendId, machine: MachineStatus, size: Option<MachineSize>) {
        let heartbeat = Heartbeat {
            address: "192.0.2.1".parse().unwrap(),
            containers: 2,
            max_containers: 100,
            runtime: "simulated".parse().unwrap(),
            agent_version: "0.1.0".parse().unwrap(),
            load: 0.5,
            memory: 0.25,
            at: Timestamp::from_millis(0),
            agent_run: None,
            leaving: false,
            size,
            ssh_connections: None,
            machine,
        };
        self.app.heartbeats.record(backend, heartbeat);
    }

    /// The backend's agent connects.
    pub async fn connect(&self, backend: BackendId) {
        self.beat(backend, MachineStatus::default());
        let (runtime, agent_version) = ("simulated".to_owned(), "0.1.0".to_owned());
        self.connect_as(backend, Connected { address: "192.0.2.1".to_owned().into(), runtime, agent_version }).await;
    }

    /// The backend's agent connects with these texts, valid or not.
    pub async fn connect_as(&self, backend: BackendId, connected: Connected) {
        let done = self.app.executor.execute(backend, origin(), MarkConnected(connected)).await.unwrap();
        self.app.follower.wait_until_applied(done.current.sequence).await;
    }

    /// A backend whose agent is connected.
    pub async fn connected_backend(&self, name: &str, max_containers: u32) -> Caller<BackendId> {
        let backend = self.backend(name, max_containers).await;
        self.connect(backend.id).await;
        backend
    }
}

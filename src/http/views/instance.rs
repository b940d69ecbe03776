//! An instance, as its owner sees it.

use dockhost_domain::backend::{Connected, Machine};
use dockhost_domain::group::GroupLimits;
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::labels::Labels;
use dockhost_domain::minutes::Minutes;
use dockhost_domain::personal::Personal;
use dockhost_domain::sizes::SizeName;
use dockhost_domain::tenancy::event::{PlacementFailure, RecordedObservation, StopReason};
use dockhost_domain::tenancy::{self, AdministratorNote, Progress, Status};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::DesiredState;
use serde::Serialize;
use utoipa::ToSchema;

use super::lifetime::{InstanceStop, InstanceStopCause};
use super::{BackendStatus, ContainerEnd, InstanceMove, LabelMap, OnLost, Restart, UnderWay};
use crate::auth::ssh_key;
use crate::http::app::App;
use crate::http::consistency::Stale;
use crate::http::dockhost_v2::{InstanceNames, PlacedOnNames};
use crate::http::processors;
use crate::http::response::details::BackendReason;
use crate::replica::fleet_health::Problem;

/// The user to log in as.
const SSH_USER: &str = "root";

/// An instance. What is not known yet is null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    #[schema(value_type = Uuid)]
    instance_id: InstanceId,
    #[schema(required)]
    name: Option<String>,
    #[schema(value_type = Uuid)]
    user_id: UserId,
    /// The backend that it is placed on.
    #[schema(value_type = Option<Uuid>, required)]
    backend_id: Option<BackendId>,
    #[schema(required)]
    container_id: Option<String>,
    status: InstanceStatus,
    /// The change that is under way; only while one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    under_way: Option<UnderWay>,
    /// Increases with each change of the desired state.
    generation: u32,
    /// The labels that its backend must have.
    #[schema(value_type = LabelMap)]
    requires: Labels,
    /// The size that was asked for by its name.
    #[schema(value_type = Option<String>, required)]
    size: Option<SizeName>,
    /// The processor time that it may use, in processors.
    cpu: f64,
    /// The memory that it may use, in MiB, including swap.
    memory_mib: u32,
    /// The processes and threads that it may have.
    pids: u32,
    /// What happens if its backend is lost.
    on_lost: OnLost,
    /// Its last move to another backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_move: Option<InstanceMove>,
    /// The backend's port that leads to port 22 of the container.
    #[schema(required)]
    ssh_port: Option<u16>,
    /// The backend's port that leads to port 80 of the container.
    #[schema(required)]
    http_port: Option<u16>,
    /// The backend's port that leads to port 443 of the container.
    #[schema(required)]
    https_port: Option<u16>,
    #[schema(required)]
    ssh_details: Option<SshDetails>,
    /// `SHA256:…` of each key that may log in.
    ssh_keys: Vec<String>,
    #[schema(required)]
    backend: Option<InstanceBackend>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When you or its container last changed it, or somebody was connected to it by SSH. Connections are recorded only if an autostop
    /// counts them, and at intervals of up to a quarter of it, at most an hour.
    #[schema(value_type = String, format = DateTime)]
    last_activity: Timestamp,
    /// When it is stopped, as you set it; null for never. Your group may end it earlier, see `stopsAt`.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    expires_at: Option<Timestamp>,
    /// After how many minutes without an SSH connection it is stopped, as you set it; null for never. Your group may have an autostop,
    /// too.
    #[schema(value_type = Option<u32>, required)]
    autostop_minutes: Option<Minutes>,
    /// When it is stopped; only while it is to run and something limits that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stops_at: Option<InstanceStop>,
    /// The reason of each backend that was tried, in order; only while the status is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failure: Option<Vec<BackendReason>>,
    /// Why it was stopped, if you did not request it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false)]
    stop_reason: Option<&'static str>,
    /// The same for programs; only if it was stopped for `stopsAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stop_cause: Option<InstanceStopCause>,
    restart: Restart,
    /// Why its container last ended, if nobody stopped it since the instance was created, stopped or resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_end: Option<ContainerEnd>,
    /// The last change by an administrator; not if you changed the desired state after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    administrator: Option<AdministratorChange>,
    /// When the backend's last heartbeat arrived; only while the status is `unreachable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime)]
    last_seen: Option<Timestamp>,
    /// Only if events are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stale: Option<Stale>,
    #[serde(flatten)]
    dockhost_v2: InstanceNames,
}

/// A change that an administrator made.
#[derive(Debug, Serialize, ToSchema)]
struct AdministratorChange {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The desired state from then on.
    wanted: Wanted,
    /// What the administrator says about it.
    #[schema(required)]
    reason: Option<String>,
}

/// A desired state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Running,
    Stopped,
    Deleted,
}

impl From<&AdministratorNote> for AdministratorChange {
    fn from(note: &AdministratorNote) -> Self {
        let wanted = match note.wanted {
            DesiredState::Running => Wanted::Running,
            DesiredState::Stopped => Wanted::Stopped,
            DesiredState::Deleted => Wanted::Deleted,
        };
        Self { at: note.at, wanted, reason: note.reason.as_ref().and_then(Personal::plain).cloned() }
    }
}

/// How to log in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SshDetails {
    host: String,
    port: u16,
    username: &'static str,
    /// The command that logs in.
    command: String,
    /// SHA-256 fingerprints of the host keys; empty until known.
    host_keys: Vec<String>,
}

/// The backend that an instance is placed on.
#[derive(Debug, Serialize, ToSchema)]
struct InstanceBackend {
    #[schema(required)]
    name: Option<String>,
    status: BackendStatus,
    #[serde(flatten)]
    dockhost_v2: PlacedOnNames,
}

impl InstanceBackend {
    fn new(id: BackendId, machine: &Machine, problem: Option<Problem>) -> Self {
        let name = machine.details.username.plain().map(ToString::to_string);
        let status = BackendStatus::now(machine.admission, machine.connection, problem);
        let address = machine.agent_info.as_ref().and_then(Connected::valid_address).map(String::from);
        let dockhost_v2 = PlacedOnNames::new(id, name.clone(), address.filter(|_| status.is_connected()));
        Self { name, status, dockhost_v2 }
    }
}

/// - `creating`, `stopping`, `resuming`, `deleting`: under way; each ends by a deadline.
/// - `running`: accepts logins.
/// - `stopped`: files and ports are kept.
/// - `failed`: not in the desired state; `failure` has the reasons. `resume`, `stop` and `DELETE` try again; if no
///   container was ever created, only `DELETE` does.
/// - `unreachable`: its backend sends no heartbeats, or its container engine does not answer; it continues when the
///   backend is back.
/// - `deleted`: only in the answer to the deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum InstanceStatus {
    Creating,
    Running,
    Stopping,
    Stopped,
    Resuming,
    Deleting,
    Deleted,
    Failed,
    Unreachable,
}

impl From<Status> for InstanceStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Creating => Self::Creating,
            Status::Running => Self::Running,
            Status::Stopping => Self::Stopping,
            Status::Stopped => Self::Stopped,
            Status::Resuming => Self::Resuming,
            Status::Deleting => Self::Deleting,
            Status::Deleted => Self::Deleted,
            Status::Failed => Self::Failed,
            Status::Unreachable => Self::Unreachable,
        }
    }
}

/// What an instance's view shows beside its own state: its backend, now or at an earlier time.
pub struct Surroundings<'a> {
    /// The machine of its backend; `None` if it has no backend, or the backend was removed.
    pub machine: Option<Machine>,
    /// Whether that machine can be asked for the container's state.
    pub is_reachable: bool,
    /// Why that machine takes no new instances.
    pub problem: Option<Problem>,
    /// When its last heartbeat arrived.
    pub last_seen: Option<Timestamp>,
    /// What the group of its owner says about its lifetime.
    pub group: GroupLimits,
    /// The names of backends that are known and not erased.
    pub backend_name: &'a dyn Fn(BackendId) -> Option<String>,
}

impl Instance {
    /// Joins the instance's state with what this replica knows of its backend, and with what its owner's group says.
    pub fn new(
        app: &App,
        user_id: UserId,
        instance_id: InstanceId,
        instance: &tenancy::Instance,
        group: GroupLimits,
    ) -> Self {
        let backend_id = instance.current_placement.as_ref().map(|placement| placement.backend_id);
        let machine = backend_id.and_then(|id| app.follower.fleet().machine(id));
        let is_reachable =
            backend_id.zip(machine.as_ref()).is_some_and(|(id, machine)| app.heartbeats.is_reachable(id, machine));
        let surroundings = Surroundings {
            problem: backend_id.and_then(|id| app.heartbeats.problem(id)),
            last_seen: backend_id.and_then(|id| app.heartbeats.last(id)).map(|heartbeat| heartbeat.received_at),
            group,
            backend_name: &|id| app.backend_name(id),
            machine,
            is_reachable,
        };
        Self::of(user_id, instance_id, instance, surroundings)
    }

    /// The view of a state, with its surroundings.
    pub fn of(
        user_id: UserId,
        instance_id: InstanceId,
        instance: &tenancy::Instance,
        surroundings: Surroundings<'_>,
    ) -> Self {
        let Surroundings { machine, is_reachable, problem, last_seen, group, backend_name } = surroundings;
        let backend_id = instance.current_placement.as_ref().map(|placement| placement.backend_id);
        let status = InstanceStatus::from(instance.status_on(is_reachable));
        let observed = instance.last_observation().map(|last| &last.observation);
        let ports = observed.and_then(RecordedObservation::valid_ports);
        let is_failed = matches!(instance.progress, Progress::Failed { .. });
        Self {
            instance_id,
            name: instance.name.plain().map(ToString::to_string),
            user_id,
            backend_id,
            container_id: observed.and_then(RecordedObservation::valid_container_id).map(String::from),
            status,
            under_way: UnderWay::of(instance),
            generation: instance.generation,
            requires: instance.requires.clone(),
            size: instance.size.clone(),
            cpu: processors::of_millis(instance.limits.cpu_millis.into()),
            memory_mib: instance.limits.memory_mib,
            pids: instance.limits.pids,
            on_lost: instance.on_lost.into(),
            last_move: instance.last_move.map(InstanceMove::from),
            ssh_port: ports.map(|ports| ports.ssh),
            http_port: ports.map(|ports| ports.http),
            https_port: ports.map(|ports| ports.https),
            ssh_details: observed.zip(machine.as_ref()).and_then(|(observed, machine)| ssh_details(observed, machine)),
            ssh_keys: instance.keys().filter_map(ssh_key::fingerprint).collect(),
            backend: backend_id.zip(machine.as_ref()).map(|(id, machine)| InstanceBackend::new(id, machine, problem)),
            created_at: instance.created_at,
            last_activity: instance.last_activity,
            expires_at: instance.lifetime.set.expires_at,
            autostop_minutes: instance.lifetime.set.autostop_minutes,
            stops_at: instance.stops_at(&group).and_then(InstanceStop::new),
            failure: is_failed.then(|| reasons(instance, backend_name)),
            stop_reason: instance.stop_reason.map(StopReason::explain),
            stop_cause: InstanceStopCause::of_last_stop(instance),
            restart: instance.restart.into(),
            last_end: instance.last_end.map(ContainerEnd::from),
            administrator: instance.administered.as_ref().map(Into::into),
            last_seen: last_seen.filter(|_| status == InstanceStatus::Unreachable),
            stale: None,
            dockhost_v2: InstanceNames::new(
                instance_id,
                status == InstanceStatus::Running,
                ports,
                instance.last_activity,
            ),
        }
    }

    /// Whether its machine can't be asked for its state.
    pub const fn is_unreachable(&self) -> bool {
        matches!(self.status, InstanceStatus::Unreachable)
    }

    /// Marks the instance if events are missing.
    #[must_use]
    pub fn stale(self, since: Option<u64>) -> Self {
        Self { stale: since.map(|since| Stale { since }), ..self }
    }
}

/// People paste the command into a shell, so nothing but a valid address may get into it; earlier releases recorded any.
fn ssh_details(observed: &RecordedObservation, machine: &Machine) -> Option<SshDetails> {
    let host = machine.agent_info.as_ref()?.valid_address()?;
    let port = observed.valid_ports()?.ssh;
    Some(SshDetails {
        port,
        username: SSH_USER,
        command: format!("ssh -p {port} {SSH_USER}@{host}"),
        host_keys: observed.valid_host_keys().as_slice().iter().map(ToString::to_string).collect(),
        host: host.into(),
    })
}

/// Why an instance is not in its desired state: the reason of each backend that was tried, the last one at the end.
pub fn backend_reasons(app: &App, instance: &tenancy::Instance) -> Vec<BackendReason> {
    reasons(instance, &|id| app.backend_name(id))
}

fn reasons(instance: &tenancy::Instance, name: &dyn Fn(BackendId) -> Option<String>) -> Vec<BackendReason> {
    let last = match &instance.progress {
        Progress::Failed { failure } => Some(failure),
        Progress::Pending { .. } | Progress::Stable | Progress::Deleted { .. } => None,
    };
    let reason = |failure: &PlacementFailure| BackendReason {
        backend_id: failure.backend_id,
        backend: name(failure.backend_id),
        reason: failure.reason.explain(),
    };
    instance.placement_failures.iter().chain(last).map(reason).collect()
}

#[cfg(test)]
mod tests {
    use dockhost_domain::backend::{Admission, ConnectionState, Enrolled};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::http::testing::HOST_KEY;

    /// A backend whose agent connected with this address, which an earlier release may have recorded unchecked.
    fn machine(address: String) -> Machine {
        let agent =
            Connected { address: address.into(), runtime: "docker".to_owned(), agent_version: "0.1.0".to_owned() };
        let details = Enrolled {
            username: "lab".parse::<dockhost_domain::names::Username>().unwrap().into(),
            password_verifier: "none".to_owned().into(),
            lab_name: None,
            operating_system: None,
            max_containers: 1,
            key_version: 1,
            awaits_approval: false,
            token: None,
        };
        Machine {
            details,
            enrolled_at: Timestamp::from_millis(0),
            connection: ConnectionState::Connected,
            agent_info: Some(agent),
            admission: Admission::Approved,
            is_cordoned: false,
            capacity: None,
            issued_key: None,
            is_key_revoked: false,
            previous_key: None,
            drain: None,
            labels: Labels::default(),
            lost_at: None,
        }
    }

    fn observed(ports: [u16; 3], host_keys: &[String]) -> RecordedObservation {
        let [ssh, http, https] = ports;
        let ports = json!({ "ssh": ssh, "http": http, "https": https });
        let observation = json!({ "phase": "running", "containerId": "c1", "ports": ports, "hostKeys": host_keys });
        serde_json::from_value(observation).unwrap()
    }

    fn details(address: &str, ports: [u16; 3], host_keys: &[String]) -> Option<SshDetails> {
        ssh_details(&observed(ports, host_keys), &machine(address.to_owned()))
    }

    #[test]
    fn ssh_details_of_a_valid_address_and_ports_are_shown() {
        for address in ["192.0.2.1", "fd77::2", "fe80::1%eth0", "box.lan"] {
            let shown = details(address, [20_000, 20_001, 20_002], &[HOST_KEY.to_owned()]).unwrap();
            assert_eq!(shown.command, format!("ssh -p 20000 root@{address}"));
            assert_eq!((shown.host.as_str(), shown.host_keys), (address, vec![HOST_KEY.to_owned()]));
        }
    }

    #[test]
    fn ssh_details_of_invalid_recorded_values_are_absent() {
        for address in ["h -oProxyCommand='touch /tmp/x'", "$(id)", "a;touch x", "[fd77::2]", "-oProxyCommand=id", ""] {
            assert!(details(address, [20_000, 20_001, 20_002], &[]).is_none(), "{address:?}");
        }
        assert!(details("192.0.2.1", [0, 20_001, 20_002], &[]).is_none());
        let keys = ["SHA256:AttackersOwnHostKey".to_owned(), HOST_KEY.to_owned()];
        assert_eq!(details("192.0.2.1", [1, 2, 3], &keys).unwrap().host_keys, [HOST_KEY.to_owned()]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn ssh_command_is_exactly_four_words_whatever_was_recorded(
            address in r"(?s:.{0,40})|[-a-z0-9.:%\[\] $;'`|&]{1,20}|[a-z]{1,5}\.[a-z]{1,5}|10\.0\.0\.[0-9]{1,3}|fe80::[0-9a-f]{1,4}%.{0,6}",
            ports in any::<[u16; 3]>(),
            host_keys in proptest::collection::vec(".{0,60}", 0..3),
        ) {
            if let Some(shown) = details(&address, ports, &host_keys) {
                let expected = ["ssh", "-p", &ports[0].to_string(), &format!("root@{}", shown.host)].map(str::to_owned);
                prop_assert_eq!(shlex::split(&shown.command), Some(expected.to_vec()));
                prop_assert_eq!(&shown.host, &address);
                prop_assert!(ports[0] != 0 && !shown.host.contains(char::is_whitespace) && !shown.host.starts_with('-'));
            }
        }
    }
}

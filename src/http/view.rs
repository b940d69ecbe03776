//! What the API shows of users, backends, instances and operations.
//!
//! In: the domain's states, and the machine that an instance is on. Out: JSON, the same from a command's answer and
//! from a query. A status depends on whether the machine is heard, which is not the instance's to know, so it is
//! joined here.

use dockhost_domain::account::Profile;
use dockhost_domain::backend::{ConnectionState, Machine};
use dockhost_domain::ids::{BackendId, InstanceId, OperationId, UserId};
use dockhost_domain::tenancy::event::PlacementFailure;
use dockhost_domain::tenancy::{Instance, Operation, Outcome, Progress, Status};
use serde_json::{Value, json};

use super::app::App;

/// Who logs in.
const SSH_USER: &str = "root";

/// A user, as themselves.
pub fn user(id: UserId, profile: &Profile) -> Value {
    json!({
        "id": id,
        "username": profile.details.username.plain(),
        "email": profile.details.email.plain(),
        "role": profile.details.role,
        "createdAt": profile.created_at,
    })
}

/// A backend, as itself.
pub fn backend(id: BackendId, machine: &Machine) -> Value {
    let plain = |value: &Option<dockhost_domain::personal::Personal<String>>| {
        value.as_ref().and_then(|value| value.plain().cloned())
    };
    let facts = machine.agent_info.as_ref();
    json!({
        "id": id,
        "username": machine.details.username.plain(),
        "status": machine.connection,
        "labName": plain(&machine.details.lab_name),
        "operatingSystem": plain(&machine.details.operating_system),
        "maxContainers": machine.details.max_containers,
        "address": facts.and_then(|facts| facts.address.plain()),
        "runtime": facts.map(|facts| &facts.runtime),
        "agentVersion": facts.map(|facts| &facts.agent_version),
        "createdAt": machine.enrolled_at,
    })
}

/// An instance, as its owner sees it.
pub fn instance(app: &App, user_id: UserId, id: InstanceId, instance: &Instance) -> Value {
    let machine_of = |backend_id: BackendId| app.follower.fleet().machine(backend_id);
    let current = instance.current_placement.as_ref();
    let machine = current.and_then(|current| machine_of(current.backend_id));
    let heard = machine.as_ref().is_some_and(|machine| machine.connection == ConnectionState::Connected);
    let status = instance.status_on(heard);
    let seen = instance.last_observation().map(|seen| &seen.observation);
    let host = machine.as_ref().and_then(|m| m.agent_info.as_ref()).and_then(|facts| facts.address.plain());
    let ssh = seen.zip(host).map(|(seen, host)| {
        json!({
            "host": host,
            "port": seen.ports.ssh,
            "username": SSH_USER,
            "command": format!("ssh -p {} {SSH_USER}@{host}", seen.ports.ssh),
            "hostKeys": seen.host_keys,
        })
    });
    let failure = match &instance.progress {
        Progress::Failed { failure } => Some(reasons(app, instance, failure)),
        Progress::Pending { .. } | Progress::Stable | Progress::Deleted { .. } => None,
    };
    let mut view = json!({
        "instanceId": id,
        "name": instance.name.plain(),
        "userId": user_id,
        "backendId": current.map(|current| current.backend_id),
        "containerId": seen.map(|seen| &seen.container_id),
        "status": status,
        "generation": instance.generation,
        "sshPort": seen.map(|seen| seen.ports.ssh),
        "httpPort": seen.map(|seen| seen.ports.http),
        "httpsPort": seen.map(|seen| seen.ports.https),
        "sshDetails": ssh,
        "backend": machine.as_ref().map(|m| json!({ "name": m.details.username.plain(), "status": m.connection })),
        "createdAt": instance.created_at,
        "lastActivity": instance.last_activity,
    });
    if let Some(failure) = failure {
        view["failure"] = failure;
    }
    if status == Status::Unreachable
        && let Some(last) = current.and_then(|current| app.heartbeats.last(current.backend_id))
    {
        view["lastSeen"] = json!(last.received_at);
    }
    view
}

/// Why an instance is not as wanted: every try, the last one last.
pub fn reasons(app: &App, instance: &Instance, last: &PlacementFailure) -> Value {
    let tries = instance.placement_failures.iter().chain([last]).map(|failure| {
        let machine = app.follower.fleet().machine(failure.backend_id);
        json!({
            "backendId": failure.backend_id,
            "backend": machine.as_ref().and_then(|machine| machine.details.username.plain()),
            "reason": failure.reason.to_string(),
        })
    });
    Value::Array(tries.collect())
}

/// The word for an operation's outcome.
pub const fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pending => "pending",
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Superseded => "superseded",
    }
}

/// An operation, with its instance as it is now.
pub fn operation(app: &App, user_id: UserId, id: OperationId, operation: &Operation, of: Option<&Instance>) -> Value {
    let shown = of.filter(|instance| !instance.is_deleted());
    let mut view = json!({
        "id": id,
        "kind": operation.kind,
        "status": outcome(&operation.outcome),
        "instance": shown.map(|of| instance(app, user_id, operation.instance_id, of)),
    });
    if operation.outcome == Outcome::Failed
        && let Some(instance) = of
        && let Progress::Failed { failure } = &instance.progress
    {
        view["error"] = json!({
            "code": "operation_failed",
            "message": failure.reason.to_string(),
            "reasons": reasons(app, instance, failure),
        });
    }
    view
}

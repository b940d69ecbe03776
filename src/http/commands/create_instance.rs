//! `POST /api/v2/user/instance`: a user asks for an instance.
//!
//! In: `sshPublicKey?` (else the account's), `name?`, the headers `Idempotency-Key` and `Prefer`. Out: 201 when it
//! runs, 202 with `Location` when the wait ran out. The machine is chosen here, among those that this replica knows.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use dockhost_domain::account::{Account, Profile};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::names::InstanceName;
use dockhost_domain::placement::{Ineligible, NoCandidate};
use dockhost_domain::tenancy::{Facts, Idempotency, RequestInstance, RequestRejected};
use serde_json::{Value, json};

use crate::auth::ssh_key;
use crate::common::clock;
use crate::http::app::App;
use crate::http::extract::caller::CurrentUser;
use crate::http::extract::fields::Fields;
use crate::http::extract::idempotency_key::IdempotencyKey;
use crate::http::extract::prefer::Wait;
use crate::http::operation_wait::OperationWait;
use crate::http::response::Reply;
use crate::http::response::error::{ApiError, Code, from_execute};
use crate::replica::follower::tie_breaker;
use crate::sealing::Keyring;

struct Request {
    name: Option<InstanceName>,
    ssh_public_key: Option<String>,
}

fn read(mut body: Fields) -> Result<Request, ApiError> {
    let name = body.optional("name");
    let name = body.check("name", name, str::parse);
    let ssh_public_key = body.optional("sshPublicKey");
    body.done(Some(Request { name, ssh_public_key }))
}

/// The key, by its hash, with that of the request that it stands for. Both are in the log for ever, and a plain hash of
/// so little could be guessed: they are keyed.
fn idempotency(keyring: &Keyring, user: UserId, key: &IdempotencyKey, request: &Request) -> Option<Idempotency> {
    let body = json!({ "name": request.name, "sshPublicKey": request.ssh_public_key });
    let hash = |what: &str, text: &str| keyring.keyed_hash([what, &user.to_string(), text]);
    key.0.as_ref().map(|key| Idempotency { key: hash("key", key), request: hash("request", &body.to_string()) })
}

/// The key that may log in: the request's, else the account's.
fn ssh_key_of(request: &Request, profile: &Profile) -> Result<String, ApiError> {
    match (&request.ssh_public_key, &profile.details.ssh_public_key) {
        (Some(key), _) => {
            ssh_key::normalise(key).map_err(|bad| ApiError::new(Code::InvalidSshKey, format!("sshPublicKey {bad}")))
        }
        (None, Some(key)) => {
            key.plain().cloned().ok_or_else(|| ApiError::new(Code::SshKeyRequired, "the account has no SSH key"))
        }
        (None, None) => Err(ApiError::new(
            Code::SshKeyRequired,
            "give an sshPublicKey: the account has none, and there is no password to log in with",
        )),
    }
}

fn no_place(app: &App, no_place: &NoCandidate) -> ApiError {
    let reason = |unfit: &Ineligible| match unfit {
        Ineligible::NotConnected => "is not connected",
        Ineligible::Full => "has no room",
        Ineligible::AlreadyTried => "was tried",
    };
    let backends: Vec<Value> = no_place
        .0
        .iter()
        .map(|(id, unfit)| {
            let machine = app.follower.fleet().machine(*id);
            let name = machine.as_ref().and_then(|machine| machine.details.username.plain());
            json!({ "backendId": id, "backend": name, "reason": reason(unfit) })
        })
        .collect();
    let (code, message) = if no_place.none_connected() {
        (Code::NoBackend, "no backend is connected")
    } else {
        (Code::NoCapacity, "no backend has room for another instance")
    };
    ApiError::new(code, message).with(json!({ "backends": backends }))
}

fn rejected(app: &App, rejection: RequestRejected) -> ApiError {
    match rejection {
        RequestRejected::Closed => ApiError::not_found("account"),
        RequestRejected::KeyReused => {
            ApiError::new(Code::IdempotencyKeyReused, "this Idempotency-Key was used for another request")
        }
        RequestRejected::NameTaken => ApiError::new(Code::NameTaken, "you have an instance of this name"),
        RequestRejected::QuotaExceeded { limit, used } => {
            ApiError::new(Code::QuotaExceeded, format!("you have {used} of {limit} instances; delete one first"))
                .with(json!({ "limit": limit, "used": used }))
        }
        RequestRejected::NoCandidate(reasons) => no_place(app, &reasons),
    }
}

/// Handles the request.
///
/// # Errors
/// `validation_failed`, `invalid_ssh_key`, `ssh_key_required`, `name_taken`, `quota_exceeded`, `no_backend`,
/// `no_capacity`, `idempotency_key_reused`, `operation_failed`, and those of the log.
pub async fn post(
    State(app): State<Arc<App>>,
    Extension(CurrentUser { user_id, .. }): Extension<CurrentUser>,
    wait: Wait,
    key: IdempotencyKey,
    body: Fields,
) -> Result<Reply, ApiError> {
    let request = read(body)?;
    let account = app.executor.state::<Account>(user_id).await?;
    let profile = account.state.profile.as_ref().ok_or_else(|| ApiError::not_found("account"))?;
    let ssh_public_key = ssh_key_of(&request, profile)?;
    let idempotency = idempotency(&app.keyring, user_id, &key, &request);
    let username = profile.details.username.plain().ok_or_else(|| ApiError::not_found("account"))?;
    let instance_id = InstanceId::from_uuid(clock::fresh_uuid());
    let tie_breaker = tie_breaker(instance_id);
    let reservation = app.follower.fleet().reserve(instance_id, tie_breaker);
    let policy = app.settings.policy;
    let facts = Facts { now: clock::now(), policy, candidates: reservation.candidates.clone(), tie_breaker };
    let command = RequestInstance {
        instance_id,
        name: request.name,
        username: username.clone(),
        ssh_public_key,
        image: app.settings.image.clone(),
        limits: app.settings.limits,
        idempotency: idempotency.clone(),
        quota: app.settings.quota,
        facts,
    };
    let done = app
        .executor
        .execute(user_id, app.origin(Actor::User(user_id)), command)
        .await
        .map_err(|error| from_execute(error, |rejection| rejected(&app, rejection)))?;
    let operation =
        match (done.stored, idempotency.and_then(|i| done.current.state.idempotency_record(&i.key).cloned())) {
            (Some(event), _) => {
                reservation.commit();
                OperationWait { user_id, instance_id, operation_id: Some(event.into()) }
            }
            (None, Some(used)) => {
                OperationWait { user_id, instance_id: used.instance_id, operation_id: Some(used.operation_id) }
            }
            (None, None) => return Err(ApiError::bug("neither an event nor a used idempotency key after a request")),
        };
    operation.answer(&app, wait, |instance| Reply::created("the instance runs", instance)).await
}

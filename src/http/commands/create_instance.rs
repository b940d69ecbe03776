//! `POST /api/v2/user/instance`: creates an instance.
//!
//! The backend is chosen here, among those that this replica knows; the event records the choice.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{Account, Profile};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::names::InstanceName;
use dockhost_domain::placement::{Ineligible, NoCandidate};
use dockhost_domain::tenancy::{Facts, Idempotency, RequestInstance, RequestRejected};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::auth::ssh_key;
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentUser, IdempotencyKey, Wait};
use crate::http::operation_wait::OperationWait;
use crate::http::response::details::{BackendReason, BackendsDetails, QuotaDetails};
use crate::http::response::documented::{BODY, CALLER, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Details, Reply, Success};
use crate::http::views::Instance;
use crate::replica::follower::tie_breaker;
use crate::sealing::Keyring;

/// A new instance.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "name": "build",
    "sshPublicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
})))]
pub struct CreateInstanceRequest {
    /// Unique among your instances; neither `stop` nor `resume` nor a UUID. The default is `<username>-container`, then
    /// `<username>-container-2` and so on.
    #[garde(skip)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 63, pattern = "^[a-z][a-z0-9-]*$")]
    name: Option<InstanceName>,
    /// The key that may log in; the default is the account's. One line as in a `.pub` file: Ed25519, ECDSA, or RSA of at
    /// least 2048 bits; no options.
    #[garde(skip)]
    ssh_public_key: Option<String>,
}

error_responses!(
    CreateErrors: CALLER, BODY, COMMAND,
    &[
        Code::InvalidHeader, Code::InvalidSshKey, Code::SshKeyRequired, Code::QuotaExceeded, Code::NotFound,
        Code::NameTaken, Code::IdempotencyKeyReused, Code::NoBackend, Code::NoCapacity, Code::OperationFailed,
    ]
);

/// The hashes of the idempotency key and of its request. They stay in the log for good, and a plain hash of so little
/// could be guessed, so they are keyed.
fn idempotency(
    keyring: &Keyring,
    user: UserId,
    key: &IdempotencyKey,
    request: &CreateInstanceRequest,
) -> Option<Idempotency> {
    let body = json!({ "name": request.name, "sshPublicKey": request.ssh_public_key });
    let hash = |what: &str, text: &str| keyring.keyed_hash([what, &user.to_string(), text]);
    key.0.as_ref().map(|key| Idempotency { key: hash("key", key), request: hash("request", &body.to_string()) })
}

/// The key that may log in: the request's, else the account's.
fn login_key(request: &CreateInstanceRequest, profile: &Profile) -> Result<String, ApiError> {
    match (&request.ssh_public_key, &profile.details.ssh_public_key) {
        (Some(key), _) => {
            ssh_key::normalise(key).map_err(|bad| ApiError::new(Code::InvalidSshKey, format!("sshPublicKey {bad}")))
        }
        (None, Some(key)) => {
            key.plain().cloned().ok_or_else(|| ApiError::new(Code::SshKeyRequired, "the account has no SSH key"))
        }
        (None, None) => Err(ApiError::new(
            Code::SshKeyRequired,
            "give an sshPublicKey: the account has none, and instances have no password",
        )),
    }
}

fn no_candidate(app: &App, no_candidate: &NoCandidate) -> ApiError {
    let reason = |ineligible: &Ineligible| match ineligible {
        Ineligible::NotConnected => "is not connected",
        Ineligible::Full => "has no room",
        Ineligible::AlreadyTried => "was tried",
    };
    let backends = no_candidate.0.iter().map(|(id, ineligible)| BackendReason {
        backend_id: *id,
        backend: app.backend_name(*id),
        reason: reason(ineligible).to_owned(),
    });
    let (code, message) = if no_candidate.none_connected() {
        (Code::NoBackend, "no backend is connected")
    } else {
        (Code::NoCapacity, "no backend has room for another instance")
    };
    ApiError::new(code, message).with(Details::Backends(BackendsDetails { backends: backends.collect() }))
}

fn rejected(app: &App, rejection: RequestRejected) -> ApiError {
    match rejection {
        RequestRejected::Closed => ApiError::not_found("account"),
        RequestRejected::KeyReused => {
            ApiError::new(Code::IdempotencyKeyReused, "this Idempotency-Key was used with another body")
        }
        RequestRejected::NameTaken => ApiError::new(Code::NameTaken, "you already have an instance of this name"),
        RequestRejected::QuotaExceeded { limit, used } => {
            ApiError::new(Code::QuotaExceeded, format!("you have {used} of {limit} instances; delete one first"))
                .with(Details::Quota(QuotaDetails { limit, used }))
        }
        RequestRejected::NoCandidate(reasons) => no_candidate(app, &reasons),
    }
}

/// Create an instance
///
/// Answers when the instance is running, or with 202 when the wait is over. The body may be absent. With `503
/// operation_failed` the instance exists in the status `failed`, and can be deleted.
#[utoipa::path(
    post,
    path = "/api/v2/user/instance",
    operation_id = "createInstance",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(IdempotencyKey, Wait),
    request_body = Option<CreateInstanceRequest>,
    responses(
        (status = 201, description = "The instance is running.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        (
            status = 202,
            description = "The wait is over and the operation continues, or a later command superseded this one.",
            body = Success<Instance>,
            headers(
                ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
                ("Location" = String, description = "The operation, `/api/v2/operations/{id}`."),
            ),
        ),
        CreateErrors,
    ),
)]
pub async fn post(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    wait: Wait,
    key: IdempotencyKey,
    Body(request): Body<CreateInstanceRequest>,
) -> Result<Reply<Instance>, ApiError> {
    let account = app.executor.state::<Account>(user_id).await?;
    let profile = account.state.profile.as_ref().ok_or_else(|| ApiError::not_found("account"))?;
    let ssh_public_key = login_key(&request, profile)?;
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
    let repeated = idempotency.and_then(|hashes| done.current.state.idempotency_record(&hashes.key).cloned());
    let operation = match (done.stored, repeated) {
        (Some(event), _) => {
            reservation.commit();
            OperationWait { user_id, instance_id, operation_id: Some(event.into()) }
        }
        (None, Some(first)) => {
            OperationWait { user_id, instance_id: first.instance_id, operation_id: Some(first.operation_id) }
        }
        (None, None) => return Err(ApiError::bug("a request stored no event and repeats no other")),
    };
    operation.answer(&app, wait, |view| Reply::created("the instance is running", view)).await
}

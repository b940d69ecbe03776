//! `POST /api/v2/user/instance`: creates an instance.
//!
//! The backend is chosen here, among those that this replica knows; the event records the choice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use dockhost_domain::account::{Account, Profile};
use dockhost_domain::aggregate::Command as _;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::labels::Labels;
use dockhost_domain::minutes::Minutes;
use dockhost_domain::names::InstanceName;
use dockhost_domain::placement::{Ineligible, NoCandidate};
use dockhost_domain::sizes::SizeName;
use dockhost_domain::tenancy::{Facts, Idempotency, Lifetime, RequestInstance, RequestRejected, Tenancy, TenancyEvent};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::RestartPolicy;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::login_keys;
use super::sessions::account_disabled;
use crate::auth::ssh_key;
use crate::common::clock;
use crate::http::app::App;
use crate::http::asked_size;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, IdempotencyKey, InstanceUser, Wait};
use crate::http::group_of::{default_quota, group_of, has_ended};
use crate::http::operation_wait::{Accepted, OperationWait};
use crate::http::processors::Processors;
use crate::http::response::details::BackendsDetails;
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Details, Reply, Success};
use crate::http::views::{Instance, LabelMap, OnLost, Restart};
use crate::replica::follower::{Fleet, Reservation, tie_breaker};
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
    /// A key that may log in; the default is all of the account's. One line as in a `.pub` file: Ed25519, ECDSA, or RSA of
    /// at least 2048 bits; no options.
    #[garde(skip)]
    ssh_public_key: Option<String>,
    // Described by its type: a description here would become a schema of its own.
    #[garde(skip)]
    #[schema(inline)]
    restart: Option<Restart>,
    /// The labels that its backend must have, such as `{"gpu": "yes"}`. An administrator gives backends their labels.
    #[garde(skip)]
    #[schema(value_type = Option<LabelMap>)]
    requires: Option<Labels>,
    /// One of the server's sizes, such as `small`, instead of `cpu`, `memoryMib` and `pids`. An unknown one is refused with
    /// the names of all.
    #[garde(skip)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 32, pattern = "^[a-z][a-z0-9-]*$")]
    size: Option<SizeName>,
    /// The processor time that it may use, in processors, with at most three decimals. The least and the most that can be
    /// asked for of this and the next two are the server's; so are their defaults.
    #[garde(skip)]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0.0)]
    cpu: Option<Processors>,
    /// The memory that it may use, in MiB.
    #[garde(skip)]
    memory_mib: Option<u32>,
    /// The processes and threads that it may have.
    #[garde(skip)]
    pids: Option<u32>,
    /// Keys that may log in: names of your SSH keys, or public keys.
    #[garde(inner(length(min = 1, max = 20)))]
    #[schema(min_items = 1, max_items = 20)]
    keys: Option<Vec<String>>,
    /// What happens if its backend is lost or drained; the default is `wait`.
    #[garde(skip)]
    on_lost: Option<OnLost>,
    /// When it is stopped, in the future; the default is never. Its files stay, and it can be resumed once `PATCH` has set a later
    /// time.
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// After how many minutes without an SSH connection it is stopped; the default is never. It can be resumed.
    #[garde(skip)]
    #[schema(value_type = Option<u32>, minimum = 5, maximum = 527_040)]
    autostop_minutes: Option<Minutes>,
}

error_responses!(
    CreateErrors: CALLER_OF_COMMAND, BODY, COMMAND,
    &[
        Code::InvalidHeader, Code::InvalidSshKey, Code::SshKeyRequired, Code::QuotaExceeded, Code::GroupEnded, Code::NotFound,
        Code::AccountDisabled, Code::NameTaken, Code::IdempotencyKeyReused, Code::NoBackend, Code::NoCapacity, Code::OperationFailed,
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
    let mut body = json!({ "name": request.name, "sshPublicKey": request.ssh_public_key });
    let restart = RestartPolicy::from(request.restart.unwrap_or_default());
    // Keys that were used before this member existed must go on to match.
    if !restart.is_default() {
        body["restart"] = json!(restart);
    }
    // Earlier releases hashed the members above only.
    if let Some(requires) = request.requires.as_ref().filter(|requires| !requires.is_empty()) {
        body["requires"] = json!(requires);
    }
    let CreateInstanceRequest { size, cpu, memory_mib, pids, .. } = request;
    if (size, cpu, memory_mib, pids) != (&None, &None, &None, &None) {
        body["limits"] = json!([size, cpu, memory_mib, pids]);
    }
    if let Some(keys) = &request.keys {
        body["keys"] = json!(keys);
    }
    if let Some(on_lost) = request.on_lost {
        body["onLost"] = json!(on_lost);
    }
    if let Some(expires_at) = request.expires_at {
        body["expiresAt"] = json!(expires_at);
    }
    if let Some(autostop) = request.autostop_minutes {
        body["autostopMinutes"] = json!(autostop);
    }
    let hash = |what: &str, text: &str| keyring.keyed_hash([what, &user.to_string(), text]);
    key.0.as_ref().map(|key| Idempotency { key: hash("key", key), request: hash("request", &body.to_string()) })
}

/// The keys that may log in, the first one apart: the request's, else the account's.
fn keys_of(
    request: &CreateInstanceRequest,
    user_id: UserId,
    profile: &Profile,
) -> Result<(String, Vec<String>), ApiError> {
    let mut keys = Vec::new();
    if let Some(key) = &request.ssh_public_key {
        let invalid = |bad| ApiError::new(Code::InvalidSshKey, format!("sshPublicKey {bad}"));
        keys.push(ssh_key::normalise(key).map_err(invalid)?);
    }
    for key in login_keys::resolve(user_id, profile, request.keys.as_deref().unwrap_or_default())? {
        login_keys::add(&mut keys, key);
    }
    if keys.is_empty() {
        for key in profile.keys(user_id) {
            login_keys::add(&mut keys, key.public_key.to_owned());
        }
    }
    let mut keys = keys.into_iter();
    let first = keys.next().ok_or_else(|| {
        let message = "give an sshPublicKey: the account has none, and instances have no password";
        ApiError::new(Code::SshKeyRequired, message)
    })?;
    Ok((first, keys.collect()))
}

/// Only counts: which machines there are, and how they are, is nobody's business but the operator's.
fn no_candidate(no_candidate: &NoCandidate) -> ApiError {
    let (mut reasons, mut missing) = (BTreeMap::new(), BTreeSet::new());
    for (_, ineligible) in &no_candidate.0 {
        *reasons.entry(ineligible.code()).or_default() += 1;
        if let Ineligible::LabelMissing(label) = ineligible {
            missing.insert(label.to_string());
        }
    }
    let (code, message) = if no_candidate.none_connected() {
        (Code::NoBackend, "no backend is connected".to_owned())
    } else if reasons.contains_key("full") {
        (Code::NoCapacity, "no backend has room for another instance".to_owned())
    } else if reasons.contains_key("memory") || reasons.contains_key("cpu") {
        let message = "no backend has enough memory and processor time free; ask for less, or try again later";
        (Code::NoCapacity, message.to_owned())
    } else if reasons.contains_key("image_fetching") {
        (Code::NoCapacity, "the image of new instances is still being fetched; try again in a minute".to_owned())
    } else if !missing.is_empty() {
        let missing: Vec<String> = missing.iter().map(|label| format!("label {label} missing")).collect();
        (Code::NoCapacity, format!("no backend has what the instance requires: {}", missing.join(", ")))
    } else {
        (Code::NoCapacity, "no backend can take an instance now".to_owned())
    };
    ApiError::new(code, message).with(Details::Backends(BackendsDetails { backends: no_candidate.0.len(), reasons }))
}

/// `expiresAt` is not in the future.
pub fn expires_in_the_past() -> ApiError {
    ApiError::invalid_field("expiresAt", "must be in the future")
}

/// The answer to a rejected request.
pub fn rejected(rejection: RequestRejected) -> ApiError {
    match rejection {
        RequestRejected::Closed => ApiError::not_found("account"),
        RequestRejected::Suspended => account_disabled(None),
        RequestRejected::GroupEnded => ApiError::new(Code::GroupEnded, rejection.to_string()),
        RequestRejected::KeyReused => {
            ApiError::new(Code::IdempotencyKeyReused, "this Idempotency-Key was used with another body")
        }
        RequestRejected::NameTaken => ApiError::new(Code::NameTaken, "you already have an instance of this name"),
        RequestRejected::ExpiresInThePast => expires_in_the_past(),
        RequestRejected::QuotaExceeded(exceeded) => {
            ApiError::new(Code::QuotaExceeded, exceeded.to_string()).with(exceeded.into())
        }
        RequestRejected::NoCandidate(reasons) => no_candidate(&reasons),
    }
}

/// Decides a request, and reserves a place for what is admissible. It is called when it is the request's turn for the
/// tenancy, so the requests of one user hold one place at a time, however many wait, and those beyond the quota none.
fn decide_with_reservation(
    fleet: Arc<Fleet>,
    mut command: RequestInstance,
    reservation: Arc<Mutex<Option<Reservation>>>,
    group_ended: bool,
) -> impl FnMut(&Tenancy) -> Result<Option<TenancyEvent>, RequestRejected> {
    move |state| {
        // The one of the attempt before.
        drop(lock(&reservation).take());
        match command.admit(state) {
            // It repeats one from before the end.
            Ok(None) => return Ok(None),
            _ if group_ended => return Err(RequestRejected::GroupEnded),
            Ok(Some(_)) => {}
            Err(rejection) => return Err(rejection),
        }
        let reserved = fleet.reserve(command.instance_id, &command.demand(), command.facts.tie_breaker);
        command.facts.candidates.clone_from(&reserved.candidates);
        *lock(&reservation) = Some(reserved);
        command.decide(state)
    }
}

fn lock(reservation: &Mutex<Option<Reservation>>) -> MutexGuard<'_, Option<Reservation>> {
    reservation.lock().unwrap_or_else(PoisonError::into_inner)
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
        Accepted,
        CreateErrors,
    ),
)]
pub async fn post(
    InstanceUser { user_id }: InstanceUser,
    State(app): State<Arc<App>>,
    wait: Wait,
    key: IdempotencyKey,
    Body(request): Body<CreateInstanceRequest>,
) -> Result<Reply<Instance>, ApiError> {
    let account = app.executor.state::<Account>(user_id).await?;
    let profile = account.state.profile.as_ref().ok_or_else(|| ApiError::not_found("account"))?;
    let (ssh_public_key, further_keys) = keys_of(&request, user_id, profile)?;
    let idempotency = idempotency(&app.keyring, user_id, &key, &request);
    let username = profile.details.username.plain().ok_or_else(|| ApiError::not_found("account"))?;
    let instance_id = InstanceId::from_uuid(clock::fresh_uuid());
    let tie_breaker = tie_breaker(instance_id);
    let CreateInstanceRequest { size, cpu, memory_mib, pids, .. } = request;
    let limits = asked_size::limits(&app.settings.offer, size.clone(), cpu, memory_mib, pids)?;
    let group = group_of(&app, user_id).await?;
    let facts = Facts { now: clock::now(), policy: app.settings.policy, candidates: Vec::new(), tie_breaker };
    let mut command = RequestInstance {
        instance_id,
        name: request.name,
        username: username.clone(),
        ssh_public_key,
        further_keys,
        image: app.settings.image.clone(),
        limits,
        restart: request.restart.unwrap_or_default().into(),
        requires: request.requires.unwrap_or_default(),
        size,
        on_lost: request.on_lost.unwrap_or_default().into(),
        lifetime: Lifetime { expires_at: request.expires_at, autostop_minutes: request.autostop_minutes },
        idempotency: idempotency.clone(),
        quota: default_quota(&app, group.as_ref()),
        facts,
    };
    app.follower.fleet().wait_for_room(&command.demand()).await;
    command.facts.now = clock::now();
    let group_ended = has_ended(&app, user_id, group.as_ref(), command.facts.now).await?;
    let class = command.class();
    let reservation = Arc::new(Mutex::new(None));
    let fleet = Arc::clone(app.follower.fleet());
    let decide = decide_with_reservation(fleet, command, Arc::clone(&reservation), group_ended);
    let done = app
        .executor
        .execute_with(user_id, app.origin(Actor::User(user_id)), class, decide)
        .await
        .map_err(|error| from_execute(error, rejected))?;
    let repeated = idempotency.and_then(|hashes| done.current.state.idempotency_record(&hashes.key).cloned());
    let operation = match (done.stored, repeated) {
        (Some(event), _) => {
            if let Some(reservation) = lock(&reservation).take() {
                reservation.commit();
            }
            OperationWait { user_id, instance_id, operation_id: Some(event.into()) }
        }
        (None, Some(first)) => {
            OperationWait { user_id, instance_id: first.instance_id, operation_id: Some(first.operation_id) }
        }
        (None, None) => return Err(ApiError::bug("a request stored no event and repeats no other")),
    };
    operation.answer(&app, wait, |view| Reply::created("the instance is running", view)).await
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use dockhost_domain::backend::SetLabels;
    use dockhost_domain::ids::UserId;
    use dockhost_domain::reported::ShortText;
    use dockhost_domain::tenancy::Tenancy;
    use dockhost_domain::timestamp::Timestamp;
    use dockhost_domain::wire::{EngineState, ImageState, MachineSize, MachineStatus, Phase, ReportKind};
    use serde_json::{Value, json};

    use crate::http::testing::{Answer, Caller, HOST_KEY, SSH_KEY, TestApp, observation};

    const PATH: &str = "/api/v2/user/instance";

    async fn create(app: &TestApp, user: &Caller<UserId>, body: Value) -> Answer {
        app.post(PATH, body).token(&user.token).header("prefer", "respond-async").send().await
    }

    #[tokio::test]
    async fn create_respond_async_answers_202_with_the_operation() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let answer = create(&app, &user, json!({})).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let data = answer.data();
        let expected = json!({
            "instanceId": data["instanceId"], "name": "ada-container", "userId": user.id.to_string(),
            "backendId": backend.id.to_string(), "containerId": null, "status": "creating", "generation": 1,
            "sshPort": null, "httpPort": null, "httpsPort": null, "sshDetails": null,
            "backend": {
                "name": "lab-1", "status": "connected",
                "_id": data["backendId"], "username": "lab-1", "LAN_IP": "192.0.2.1",
            },
            "createdAt": data["createdAt"], "lastActivity": data["lastActivity"],
            "_id": data["instanceId"], "running": false, "updatedAt": data["lastActivity"],
            "allocatedPorts": [],
        });
        for (member, expected) in expected.as_object().unwrap() {
            assert_eq!(&data[member], expected, "{member} of {answer:?}");
        }
        let under_way = |member: &str| data["underWay"][member].as_str().unwrap().parse::<Timestamp>().unwrap();
        let length = under_way("deadline").since(under_way("since"));
        assert!((14..=15).contains(&length.as_secs()), "{answer:?}");
        let location = answer.header("location").unwrap();
        let operation = app.get(location).token(&user.token).send().await;
        assert_eq!(operation.data()["status"], "pending", "{operation:?}");
    }

    #[tokio::test]
    async fn create_waits_until_the_container_runs() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let report = async {
            let id = loop {
                let tenancy = app.app.executor.state::<Tenancy>(user.id).await.unwrap();
                if let Some(id) = tenancy.state.find_by_name(&"web".parse().unwrap()) {
                    break id;
                }
                tokio::task::yield_now().await;
            };
            app.report(user.id, id, ReportKind::InstanceCreated(observation(Phase::Running))).await;
        };
        let request = app.post(PATH, json!({ "name": "web" })).token(&user.token).send();
        let (answer, ()) = tokio::join!(request, report);
        assert_eq!((answer.status, &answer.data()["status"]), (201, &json!("running")), "{answer:?}");
        let ssh = json!({
            "host": "192.0.2.1", "port": 20_001, "username": "root", "command": "ssh -p 20001 root@192.0.2.1",
            "hostKeys": [HOST_KEY],
        });
        assert_eq!(answer.data()["sshDetails"], ssh);
        assert_eq!(answer.header("dockhost-position").unwrap(), app.app.position(app.app.follower.position()));
    }

    #[tokio::test]
    async fn create_without_a_usable_ssh_key_is_refused() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user_with_key("ada", None).await;
        assert_eq!(create(&app, &user, json!({})).await.error(), (400, "ssh_key_required"));
        for key in ["", "hello", &format!("command=\"id\" {SSH_KEY}"), &format!("{SSH_KEY}\n{SSH_KEY}")] {
            assert_eq!(create(&app, &user, json!({ "sshPublicKey": key })).await.error(), (400, "invalid_ssh_key"));
        }
        assert_eq!(create(&app, &user, json!({ "sshPublicKey": SSH_KEY })).await.status, 202);
    }

    #[tokio::test]
    async fn create_with_an_end_shows_it_and_one_in_the_past_is_refused() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        for (body, field) in [
            (json!({ "expiresAt": "2020-07-15T18:00:00Z" }), "expiresAt"),
            (json!({ "autostopMinutes": 4 }), "autostopMinutes"),
        ] {
            let answer = create(&app, &user, body).await;
            assert_eq!((answer.error(), &answer.details()[0]["field"]), ((422, "validation_failed"), &json!(field)));
        }
        let end = "2099-07-15T18:00:00.000Z";
        let created = create(&app, &user, json!({ "expiresAt": end, "autostopMinutes": 45 })).await;
        let (data, at) = (created.data(), created.data()["createdAt"].clone());
        assert_eq!((&data["expiresAt"], &data["autostopMinutes"]), (&json!(end), &json!(45)), "{created:?}");
        let next = &data["stopsAt"];
        assert_eq!((&next["reason"], &next["movedBy"], &next["movedAt"]), (&json!("autostop"), &json!("created"), &at));
    }

    #[tokio::test]
    async fn create_with_a_reserved_or_taken_name_is_refused() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        for name in ["stop", "resume", "a193b3a0-0000-7000-8000-000000000001", "A", ""] {
            let answer = create(&app, &user, json!({ "name": name })).await;
            assert_eq!((answer.error(), &answer.details()[0]["field"]), ((422, "validation_failed"), &json!("name")));
        }
        app.request_instance(&user, "web").await;
        assert_eq!(create(&app, &user, json!({ "name": "web" })).await.error(), (409, "name_taken"));
        // Names are unique per user.
        let other = app.user("eve").await;
        assert_eq!(create(&app, &other, json!({ "name": "web" })).await.status, 202);
    }

    #[tokio::test]
    async fn create_beyond_the_quota_is_refused() {
        let app = TestApp::with(|settings| settings.quota = Some(1)).await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        app.request_instance(&user, "web").await;
        let answer = create(&app, &user, json!({})).await;
        assert_eq!(answer.error(), (403, "quota_exceeded"));
        assert_eq!(answer.details(), &json!({ "limit": 1, "used": 1 }));
    }

    #[tokio::test]
    async fn create_many_beyond_the_quota_takes_no_room_from_others() {
        let app = TestApp::with(|settings| settings.quota = Some(3)).await;
        app.connected_backend("lab-1", 10).await;
        let (ada, eve) = (app.user("ada").await, app.user("eve").await);
        let adas = futures::future::join_all((0..200).map(|_| create(&app, &ada, json!({}))));
        let (adas, eves) = tokio::join!(adas, create(&app, &eve, json!({})));
        assert_eq!(eves.status, 202, "{eves:?}");
        let (created, refused): (Vec<_>, Vec<_>) = adas.iter().partition(|answer| answer.status == 202);
        assert_eq!(created.len(), 3);
        for answer in refused {
            assert!([(403, "quota_exceeded"), (503, "busy")].contains(&answer.error()), "{answer:?}");
        }
        app.app.follower.wait_until_applied(app.log.events().len() as u64).await;
        let used: u32 = app.app.follower.fleet().candidates().iter().map(|candidate| candidate.used).sum();
        assert_eq!(used, 4, "the refused ones keep no room");
    }

    #[tokio::test]
    async fn create_without_a_candidate_is_refused_with_counts_only() {
        let app = TestApp::new().await;
        let user = app.user("ada").await;
        let none = create(&app, &user, json!({})).await;
        assert_eq!((none.error(), none.details()), ((503, "no_backend"), &json!({ "backends": 0, "reasons": {} })));
        let backend = app.backend("lab-1", 1).await;
        app.app.follower.wait_until_applied(app.log.events().len() as u64).await;
        let not_connected = create(&app, &user, json!({})).await;
        let expected = json!({ "backends": 1, "reasons": { "not_connected": 1 } });
        assert_eq!((not_connected.error(), not_connected.details()), ((503, "no_backend"), &expected));
        app.connect(backend.id).await;
        app.backend("lab-2", 1).await;
        app.request_instance(&user, "web").await;
        app.app.follower.wait_until_applied(app.log.events().len() as u64).await;
        let full = create(&app, &user, json!({})).await;
        let expected = json!({ "backends": 2, "reasons": { "full": 1, "not_connected": 1 } });
        assert_eq!((full.error(), full.details()), ((503, "no_capacity"), &expected));
    }

    #[tokio::test]
    async fn create_with_cordoned_and_pending_backends_is_refused_and_instances_there_go_on() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let instance = app.running_instance(&user, "web").await;
        app.cordon(backend.id, true).await;
        let refused = create(&app, &user, json!({})).await;
        let expected = json!({ "backends": 1, "reasons": { "cordoned": 1 } });
        assert_eq!((refused.error(), refused.details()), ((503, "no_capacity"), &expected));
        for change in ["stop", "resume"] {
            let path = format!("{PATH}/{change}");
            let request = app.put(&path, json!({ "instanceId": instance }));
            let answer = request.token(&user.token).header("prefer", "respond-async").send().await;
            assert_eq!(answer.status, 202, "{answer:?}");
        }
        app.connect(app.pending_backend("lab-2").await).await;
        let refused = create(&app, &user, json!({})).await;
        let expected = json!({ "backends": 2, "reasons": { "cordoned": 1, "pending": 1 } });
        assert_eq!((refused.error(), refused.details()), ((503, "no_capacity"), &expected));
        app.cordon(backend.id, false).await;
        assert_eq!(create(&app, &user, json!({})).await.status, 202);
    }

    #[tokio::test]
    async fn create_that_requires_a_label_goes_where_it_is_or_is_refused_with_its_name() {
        let app = TestApp::new().await;
        let (plain, other) = (app.connected_backend("lab-1", 5).await, app.connected_backend("lab-2", 5).await);
        let user = app.user("ada").await;
        let body = json!({ "requires": { "gpu": "yes" } });
        let refused = create(&app, &user, body.clone()).await;
        let expected = json!({ "backends": 2, "reasons": { "label_missing": 2 } });
        assert_eq!((refused.error(), refused.details()), ((503, "no_capacity"), &expected));
        let message = "no backend has what the instance requires: label gpu=yes missing";
        assert_eq!(refused.body["message"], message);
        let labels = |value| SetLabels { labels: serde_json::from_value(value).unwrap() };
        app.execute(plain.id, labels(json!({ "gpu": "no" }))).await;
        app.execute(other.id, labels(json!({ "gpu": "yes", "room": "b12" }))).await;
        for _ in 0..3 {
            let answer = create(&app, &user, body.clone()).await;
            assert_eq!((answer.status, &answer.data()["backendId"]), (202, &json!(other.id.to_string())), "{answer:?}");
            assert_eq!(answer.data()["requires"], body["requires"]);
        }
        for requires in [json!(["gpu=yes"]), json!({ "GPU": "yes" }), json!({ "gpu": "" }), json!("gpu")] {
            let refused = create(&app, &user, json!({ "requires": requires })).await;
            assert_eq!(
                (refused.error(), &refused.details()[0]["field"]),
                ((422, "validation_failed"), &json!("requires"))
            );
        }
    }

    #[tokio::test]
    async fn create_with_a_size_or_limits_shows_them_and_fills_the_machine() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 50).await;
        let size = MachineSize { memory_mib: 1000, cpu_millis: 1000 };
        app.beat_with(backend.id, MachineStatus::default(), Some(size));
        let user = app.user("ada").await;
        let shown = |answer: &Answer| {
            let data = answer.data();
            json!([data["size"], data["cpu"], data["memoryMib"], data["pids"]])
        };
        for (body, expected) in [
            (json!({ "size": "large" }), json!(["large", 1.0, 512, 256])),
            (json!({ "cpu": 0.25, "memoryMib": 300 }), json!([null, 0.25, 300, 32])),
            (json!({}), json!([null, 0.1, 64, 32])),
        ] {
            let answer = create(&app, &user, body).await;
            assert_eq!((answer.status, shown(&answer)), (202, expected), "{answer:?}");
        }
        let refused = create(&app, &user, json!({ "memoryMib": 125 })).await;
        let expected = json!({ "backends": 1, "reasons": { "memory": 1 } });
        assert_eq!((refused.error(), refused.details()), ((503, "no_capacity"), &expected));
        assert_eq!(create(&app, &user, json!({ "memoryMib": 124 })).await.status, 202);
    }

    #[tokio::test]
    async fn create_with_an_invalid_size_or_limits_beyond_the_servers_is_refused() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        for (body, field, problem) in [
            (json!({ "size": "huge" }), "size", "must be one of: large, small"),
            (json!({ "size": "Small" }), "size", "must be 1 to 32 characters"),
            (json!({ "size": "small", "pids": 20 }), "size", "must not be given together"),
            (json!({ "memoryMib": 1025 }), "memoryMib", "32 to 1024 MiB"),
            (json!({ "cpu": 2.001 }), "cpu", "0.05 to 2 processors"),
            (json!({ "cpu": 0.0001 }), "cpu", "three decimals"),
            (json!({ "pids": 1 }), "pids", "16 to 512"),
        ] {
            let refused = create(&app, &user, body.clone()).await;
            assert_eq!(refused.error(), (422, "validation_failed"), "{body}");
            let found = &refused.details()[0];
            assert_eq!(found["field"], field);
            assert!(found["problem"].as_str().unwrap().contains(problem), "{found}");
        }
    }

    #[tokio::test]
    async fn create_on_a_machine_that_can_take_nothing_is_refused_at_once() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let reason = ShortText::cleaned("it stopped");
        let status = |engine, image| MachineStatus { engine, image, isolation: None };
        for (machine, why) in [
            (status(Some(EngineState::Down { reason: reason.clone() }), None), "engine_down"),
            (status(None, Some(ImageState::Missing { reason })), "image_missing"),
            (status(None, Some(ImageState::Fetching { percent: None, bytes: 0 })), "image_fetching"),
        ] {
            app.beat(backend.id, machine);
            let refused = create(&app, &user, json!({})).await;
            let expected = json!({ "backends": 1, "reasons": { why: 1 } });
            assert_eq!((refused.error(), refused.details()), ((503, "no_capacity"), &expected));
        }
        app.beat(backend.id, MachineStatus::default());
        assert_eq!(create(&app, &user, json!({})).await.status, 202);
    }

    #[tokio::test]
    async fn create_repeated_with_its_key_returns_the_first_instance() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let send = |body: Value| {
            let request = app.post(PATH, body).token(&user.token);
            request.header("prefer", "respond-async").header("idempotency-key", "k-1").send()
        };
        let first = send(json!({ "name": "web" })).await;
        let second = send(json!({ "name": "web" })).await;
        assert_eq!((first.status, second.status), (202, 202));
        assert_eq!(first.data()["instanceId"], second.data()["instanceId"]);
        assert_eq!(first.header("location"), second.header("location"));
        assert_eq!(send(json!({ "name": "other" })).await.error(), (422, "idempotency_key_reused"));
        for more in [json!({ "requires": { "gpu": "yes" } }), json!({ "size": "small" }), json!({ "memoryMib": 64 })] {
            let mut body = json!({ "name": "web" });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(send(body).await.error(), (422, "idempotency_key_reused"));
        }
    }

    #[tokio::test]
    async fn create_refused_by_every_backend_answers_operation_failed() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let send = || {
            let request = app.post(PATH, json!({ "name": "web" })).token(&user.token);
            request.header("prefer", "respond-async").header("idempotency-key", "k-1").send()
        };
        let accepted = send().await;
        let id = accepted.data()["instanceId"].as_str().unwrap().parse().unwrap();
        app.refuse(user.id, id).await;
        let answer = send().await;
        assert_eq!(answer.error(), (503, "operation_failed"), "{answer:?}");
        let (details, reasons) = (answer.details(), answer.details()["reasons"].as_array().unwrap());
        assert_eq!(details["instanceId"], id.to_string());
        assert!(accepted.header("location").unwrap().ends_with(details["operationId"].as_str().unwrap()));
        assert_eq!((&reasons[0]["backend"], reasons.len()), (&json!("lab-1"), 1), "{answer:?}");
        assert_eq!(reasons[0]["backendId"], backend.id.to_string());
    }

    #[tokio::test]
    async fn create_repeated_after_its_failure_was_deleted_keeps_the_details() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let send = || {
            let request = app.post(PATH, json!({ "name": "web" })).token(&user.token);
            request.header("prefer", "respond-async").header("idempotency-key", "k-1").send()
        };
        let accepted = send().await;
        let id = accepted.data()["instanceId"].as_str().unwrap().to_owned();
        app.refuse(user.id, id.parse().unwrap()).await;
        let path = format!("{PATH}?instanceId={id}");
        assert_eq!(app.request(Method::DELETE, &path).token(&user.token).send().await.status, 200);
        let answer = send().await;
        assert_eq!(answer.error(), (503, "operation_failed"), "{answer:?}");
        assert_eq!(answer.body["message"], "the instance could not be created");
        let details = answer.details();
        assert_eq!((&details["instanceId"], details["reasons"].is_array()), (&json!(id), true), "{answer:?}");
        assert!(accepted.header("location").unwrap().ends_with(details["operationId"].as_str().unwrap()));
    }

    #[tokio::test]
    async fn create_without_a_body_is_accepted() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        for content_type in [None, Some("application/json"), Some("application/x-www-form-urlencoded")] {
            let request = app.request(Method::POST, PATH).token(&user.token).header("prefer", "respond-async");
            let request = match content_type {
                Some(content_type) => request.header("content-type", content_type),
                None => request,
            };
            assert_eq!(request.send().await.status, 202, "{content_type:?}");
        }
        let path = format!("{PATH}?instanceId=ada-container");
        let delete = app.request(Method::DELETE, &path).token(&user.token).header("content-type", "application/json");
        assert_eq!(delete.header("prefer", "respond-async").send().await.status, 202);
    }

    #[tokio::test]
    async fn create_with_a_compressed_body_is_refused() {
        let app = TestApp::new().await;
        let user = app.user("ada").await;
        let request = app.post(PATH, json!({})).token(&user.token).header("content-encoding", "gzip");
        assert_eq!(request.send().await.error(), (415, "unsupported_media_type"));
    }
}

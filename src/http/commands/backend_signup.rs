//! `POST /api/v2/backend/signup`: registers a backend and signs it in.
//!
//! The claim of the name, the backend and its first session are one atomic batch.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::{self, EnrolBackend, Enrolled, UsedToken};
use dockhost_domain::claim::{Claim, TakeClaim};
use dockhost_domain::enrolment::{EnrolmentTokens, TokenHash, UseToken};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::BackendId;
use dockhost_domain::names::Username;
use dockhost_domain::session::StartSession;
use dockhost_domain::subject::{AllEnrolmentTokens, ClaimId, ClaimKind};
use dockhost_projections::backends::Backends;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::backend_signin::sign_in;
use super::sessions::{
    NewSession, SignInAttempt, SignedInBackend, claim_owner, not_weak, password_length, signed_in_backend,
};
use crate::auth::admission::Enrolment;
use crate::auth::one_time_token;
use crate::common::clock;
use crate::execute::{Batch, ExecuteError};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{BACKEND_COOKIE, Body, ClientAddress, Repeatable};
use crate::http::response::documented::{BODY, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::{from_execute, impossible};
use crate::http::response::{ApiError, Code, Reply, Success};

const DEFAULT_MAX_CONTAINERS: u32 = 10;

/// A new backend.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "username": "lab-1",
    "password": "correct horse",
    "maxContainers": 20,
    "labName": "Room 1.07",
    "operatingSystem": "Debian 13",
})))]
pub struct BackendSignUpRequest {
    /// Unique among backends.
    #[garde(skip)]
    #[schema(value_type = String, min_length = 3, max_length = 32, pattern = "^[a-z][a-z0-9-]*$")]
    username: Username,
    #[garde(custom(password_length))]
    #[schema(
        value_type = String,
        format = Password,
        min_length = 8,
        max_length = 128,
        pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    )]
    password: SecretString,
    /// The most containers that it asks for; an administrator can set another number.
    #[garde(range(min = 1, max = 3000))]
    #[schema(minimum = 1, maximum = 3000, default = 10)]
    max_containers: Option<u32>,
    /// The lab or room where it stands.
    #[garde(length(chars, max = 100), custom(one_line))]
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    lab_name: Option<String>,
    #[garde(length(chars, max = 100), custom(one_line))]
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    operating_system: Option<String>,
    /// The server's enrolment secret, if it has one.
    #[garde(length(chars, max = 256))]
    #[schema(max_length = 256)]
    enrolment_secret: Option<String>,
    /// A token that an administrator created for this backend. With it the backend needs no approval.
    #[garde(length(chars, max = 256))]
    #[schema(max_length = 256)]
    enrolment_token: Option<String>,
}

#[expect(clippy::ref_option, reason = "the signature that garde calls")]
fn one_line(text: &Option<String>, _: &()) -> garde::Result {
    match text {
        Some(text) if text.contains(['\n', '\r']) => Err(garde::Error::new("must be one line")),
        _ => Ok(()),
    }
}

error_responses!(
    BackendSignUpErrors: BODY, COMMAND, REPEATABLE,
    &[
        Code::WeakPassword, Code::EnrolmentRefused, Code::UsernameTaken, Code::InvalidCredentials, Code::KeyRevoked,
    ]
);

fn username_taken() -> ApiError {
    ApiError::new(Code::UsernameTaken, "a backend of this name is registered")
}

/// Register a backend
///
/// Registers a host and returns the key for its agent. Without an `enrolmentToken`, and if the server is configured so, its
/// status is `pending`, and it gets instances only when an administrator has approved it; or it is not registered. A token
/// registers one backend.
#[utoipa::path(
    post,
    path = "/api/v2/backend/signup",
    operation_id = "signUpBackend",
    tag = "Backends",
    params(Repeatable),
    request_body = BackendSignUpRequest,
    responses(
        (status = 201, description = "The backend is registered and signed in.", body = Success<SignedInBackend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the sign-up in the log."),
            ("Set-Cookie" = String, description = "The session, as `accessTokenBE`."),
        )),
        BackendSignUpErrors,
    ),
)]
pub async fn post(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    key: Repeatable,
    Body(request): Body<BackendSignUpRequest>,
) -> Result<Reply<SignedInBackend>, ApiError> {
    if let Some(secret) = &app.settings.enrolment_secret
        && !request.enrolment_secret.is_some_and(|given| secret.matches(&given))
    {
        let message = "give the server's enrolmentSecret; its operator has it (DOCKHOST_ENROLMENT_SECRET)";
        return Err(ApiError::new(Code::EnrolmentRefused, message));
    }
    let claim = app.keyring.claim(ClaimKind::Backend, request.username.as_str());
    let backend_id = BackendId::from_uuid(clock::fresh_uuid());
    let origin = key.origin_of_new(&app, Actor::Anonymous, backend_id.uuid());
    if is_repeated(&app, claim, &origin, request.username.as_str(), client).await? {
        return sign_in_again(&app, request.username.as_str(), request.password, client).await;
    }
    let token = find_token(&app, request.enrolment_token.as_deref()).await?;
    not_weak(&request.password, [request.username.as_str()])?;
    if claim_owner(&app, claim).await?.is_some() {
        return Err(username_taken());
    }
    let password_verifier = app.hash_password(client, request.password.clone()).await?;
    let (username, password) = (request.username.clone(), request.password);
    let details = Enrolled {
        username: request.username.into(),
        password_verifier: password_verifier.into(),
        lab_name: request.lab_name.map(Into::into),
        operating_system: request.operating_system.map(Into::into),
        max_containers: request.max_containers.unwrap_or(DEFAULT_MAX_CONTAINERS),
        key_version: 1,
        awaits_approval: token.is_none() && app.settings.enrolment == Enrolment::Approval,
        token: token.as_ref().map(|(_, used)| used.clone()),
    };
    let token = token.map(|(hash, _)| hash);
    let session = NewSession::of_backend(&app, backend_id);
    let decide = |batch| decide(batch, backend_id, claim, &details, &session, token.as_ref());
    let sequence = app.executor.execute_batch(&origin, decide).await?;
    app.wait_until_projected::<Backends>(sequence).await;
    let backend = app.executor.state::<backend::Backend>(backend_id).await?;
    let Some(machine) = backend.state.machine.as_ref() else {
        // Another replica has carried out the same request meanwhile.
        return sign_in_again(&app, username.as_str(), password, client).await;
    };
    let token = session.token(&app.backend_tokens)?;
    let data = signed_in_backend(&app, backend_id, machine, token.clone())?;
    let cookie = app.session_cookie(BACKEND_COOKIE, token, app.settings.session_lifetime);
    let message = if details.awaits_approval {
        "the backend is registered; it gets instances when an administrator has approved it"
    } else {
        "the backend is registered"
    };
    Ok(Reply::created(message, data).cookies(cookie).position(app.position(sequence)))
}

/// Whether an earlier request with the same key registered the backend.
async fn is_repeated(
    app: &App,
    claim: ClaimId,
    origin: &Origin,
    username: &str,
    client: ClientAddress,
) -> Result<bool, ApiError> {
    if origin.request.is_none() {
        return Ok(false);
    }
    let attempt = SignInAttempt::begin(app, ClaimKind::Backend, username, client)?;
    let first = app.executor.first_request::<Claim, Infallible>(claim, origin).await;
    // The body has the password, which nobody must be able to guess in this way.
    if matches!(first, Err(ExecuteError::KeyReused)) {
        attempt.failed(None);
    }
    Ok(first.map_err(|error| from_execute(error, |never| match never {}))?.is_some())
}

/// The answer to a repeated request: with a session of its own, and for the right password only.
async fn sign_in_again(
    app: &App,
    username: &str,
    password: SecretString,
    client: ClientAddress,
) -> Result<Reply<SignedInBackend>, ApiError> {
    let (data, cookie, sequence) = sign_in(app, username, password, client).await?;
    Ok(Reply::created("the backend is registered", data).cookies(cookie).position(app.position(sequence)))
}

fn token_invalid() -> ApiError {
    let message = "the enrolmentToken is not valid: it is wrong or used, or was revoked, or has expired; ask an administrator \
                   for another one";
    ApiError::new(Code::EnrolmentRefused, message)
}

/// The hash of the given token, and what it allows. Whether it is valid still is decided together with the registration.
async fn find_token(app: &App, given: Option<&str>) -> Result<Option<(TokenHash, UsedToken)>, ApiError> {
    let Some(given) = given else {
        return if app.settings.enrolment == Enrolment::Token {
            let message =
                "give an enrolmentToken; an administrator creates one (`dockhost admin enrolment-tokens create`)";
            Err(ApiError::new(Code::EnrolmentRefused, message))
        } else {
            Ok(None)
        };
    };
    let hash = one_time_token::hash(given);
    let tokens = app.executor.confirmed::<EnrolmentTokens>(AllEnrolmentTokens).await?;
    let (id, token) = tokens.state.find_valid(&hash, clock::now()).ok_or_else(token_invalid)?;
    Ok(Some((hash, UsedToken { id, max_containers: token.max_containers, labels: token.labels.clone() })))
}

/// The claim, the backend and its first session, and the use of its token.
async fn decide(
    mut batch: Batch,
    backend_id: BackendId,
    claim: ClaimId,
    details: &Enrolled,
    session: &NewSession,
    token: Option<&TokenHash>,
) -> Result<Batch, ApiError> {
    let owner = backend_id.into();
    if let Some(hash) = token {
        let use_token = UseToken { hash: hash.clone(), backend_id, now: clock::now() };
        let refused = |error| from_execute(error, |_| token_invalid());
        batch.decide(AllEnrolmentTokens, &use_token).await.map_err(refused)?;
    }
    batch.decide(claim, &TakeClaim { owner }).await.map_err(|error| from_execute(error, |_| username_taken()))?;
    let enrol = EnrolBackend(details.clone());
    batch.decide(backend_id, &enrol).await.map_err(|error| from_execute(error, impossible))?;
    let start = StartSession(session.started.clone());
    batch.decide(owner, &start).await.map_err(|error| from_execute(error, impossible))?;
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use dockhost_domain::ids::UserId;
    use futures::future::join_all;
    use serde_json::{Value, json};

    use crate::auth::admission::Enrolment;
    use crate::http::testing::{Caller, PASSWORD, TestApp};

    const PATH: &str = "/api/v2/backend/signup";

    #[tokio::test]
    async fn backend_sign_up_registers_and_returns_the_agent_key() {
        let app = TestApp::new().await;
        let body = json!({ "username": "lab-1", "password": PASSWORD, "labName": "Room 1.07", "maxContainers": 3 });
        let answer = app.post(PATH, body).send().await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let (backend, key) = (&answer.data()["backend"], answer.data()["DOCKHOST_API_KEY"].as_str().unwrap());
        let expected = json!({
            "id": backend["id"], "username": "lab-1", "status": "enrolled", "labName": "Room 1.07",
            "operatingSystem": null, "maxContainers": 3, "requestedMaxContainers": 3, "labels": {}, "cordoned": false, "drain": null, "keyRevoked": false, "address": null, "runtime": null, "agentVersion": null,
            "createdAt": backend["createdAt"],
        });
        assert_eq!(backend, &expected);
        assert_eq!(app.app.api_keys.read(key).unwrap().backend_id.to_string(), backend["id"].as_str().unwrap());
        let token = answer.cookie("accessTokenBE").unwrap();
        assert_eq!(app.get("/api/v2/backend").token(&token).send().await.status, 200);
    }

    /// A token of this administrator.
    async fn token(app: &TestApp, boss: &Caller<UserId>, body: Value) -> String {
        let created = app.post("/api/v2/admin/enrolment-tokens", body).token(&boss.token).send().await;
        created.data()["enrolmentToken"].as_str().unwrap().to_owned()
    }

    fn with_token(name: &str, token: &str) -> Value {
        json!({ "username": name, "password": PASSWORD, "maxContainers": 30, "enrolmentToken": token })
    }

    #[tokio::test]
    async fn backend_sign_up_with_a_token_needs_no_approval_and_gets_the_tokens_capacity() {
        for mode in [Enrolment::Approval, Enrolment::Token, Enrolment::Open] {
            let app = TestApp::with(|settings| settings.enrolment = mode).await;
            let boss = app.admin("boss").await;
            for (name, body, capacity) in
                [("lab-1", json!({ "maxContainers": 4, "labels": { "gpu": "yes" } }), 4), ("lab-2", json!({}), 30)]
            {
                let labels = body.get("labels").cloned().unwrap_or(json!({}));
                let token = token(&app, &boss, body).await;
                let answer = app.post(PATH, with_token(name, &token)).send().await;
                let backend = &answer.data()["backend"];
                assert_eq!((answer.status, &backend["status"]), (201, &json!("enrolled")), "{answer:?}");
                assert_eq!(
                    (&backend["maxContainers"], &backend["requestedMaxContainers"]),
                    (&json!(capacity), &json!(30))
                );
                assert_eq!(backend["labels"], labels);
                let second = app.post(PATH, with_token("lab-3", &token)).send().await;
                assert_eq!(second.error(), (403, "enrolment_refused"), "a token registers one backend");
            }
        }
    }

    #[tokio::test]
    async fn backend_sign_up_in_the_mode_token_without_a_valid_one_is_refused() {
        let app = TestApp::with(|settings| settings.enrolment = Enrolment::Token).await;
        let before = app.log.events().len();
        for body in [json!({ "username": "lab-1", "password": PASSWORD }), with_token("lab-1", "dhe_wrong")] {
            assert_eq!(app.post(PATH, body).send().await.error(), (403, "enrolment_refused"));
        }
        assert_eq!(app.log.events().len(), before);
    }

    /// A wrong token is an error also where none is needed, so that nobody waits for an approval in vain.
    #[tokio::test]
    async fn backend_sign_up_with_an_invalid_token_is_refused_in_each_mode() {
        for mode in [Enrolment::Approval, Enrolment::Open] {
            let app = TestApp::with(|settings| settings.enrolment = mode).await;
            let refused = app.post(PATH, with_token("lab-1", "dhe_wrong")).send().await;
            assert_eq!(refused.error(), (403, "enrolment_refused"));
        }
    }

    #[tokio::test]
    async fn backend_sign_up_of_two_at_once_with_one_token_registers_one() {
        let app = TestApp::with(|settings| settings.enrolment = Enrolment::Token).await;
        let boss = app.admin("boss").await;
        let token = token(&app, &boss, json!({})).await;
        let names: Vec<String> = (1..=4).map(|n| format!("lab-{n}")).collect();
        let answers = join_all(names.iter().map(|name| app.post(PATH, with_token(name, &token)).send())).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 403, 403, 403]);
        let listed = app.get("/api/v2/admin/enrolment-tokens").token(&boss.token).send().await;
        let won = answers.iter().find(|answer| answer.status == 201).unwrap();
        let used = &listed.data()["items"][0];
        assert_eq!((&used["status"], &used["backendId"]), (&json!("used"), &won.data()["backend"]["id"]));
    }

    #[tokio::test]
    async fn backend_sign_up_that_needs_approval_gives_a_key_and_no_instances() {
        let app = TestApp::with(|settings| settings.enrolment = Enrolment::Approval).await;
        let user = app.user("ada").await;
        let answer = app.post(PATH, json!({ "username": "lab-1", "password": PASSWORD })).send().await;
        assert_eq!((answer.status, &answer.data()["backend"]["status"]), (201, &json!("pending")), "{answer:?}");
        let key = app.app.api_keys.read(answer.data()["DOCKHOST_API_KEY"].as_str().unwrap()).unwrap();
        app.connect(key.backend_id).await;
        let token = answer.cookie("accessTokenBE").unwrap();
        assert_eq!(app.get("/api/v2/backend").token(&token).send().await.data()["status"], "pending");
        let refused = app.post("/api/v2/user/instance", json!({})).token(&user.token).send().await;
        assert_eq!((refused.error(), &refused.details()["reasons"]), ((503, "no_backend"), &json!({ "pending": 1 })));
    }

    #[tokio::test]
    async fn backend_sign_up_without_a_size_gets_the_default() {
        let app = TestApp::new().await;
        let answer = app.post(PATH, json!({ "username": "lab-1", "password": PASSWORD })).send().await;
        assert_eq!(answer.data()["backend"]["maxContainers"], 10);
    }

    #[tokio::test]
    async fn backend_sign_up_without_the_enrolment_secret_is_refused() {
        let secret = "a secret of the school";
        let app = TestApp::with(|settings| settings.enrolment_secret = Some(secret.parse().unwrap())).await;
        for given in [json!(null), json!(""), json!("another secret")] {
            let body = json!({ "username": "lab-1", "password": PASSWORD, "enrolmentSecret": given });
            assert_eq!(app.post(PATH, body).send().await.error(), (403, "enrolment_refused"), "{given}");
        }
        let body = json!({ "username": "lab-1", "password": PASSWORD, "enrolmentSecret": secret });
        assert_eq!(app.post(PATH, body).send().await.status, 201);
    }

    #[tokio::test]
    async fn backend_sign_up_with_a_taken_name_is_refused() {
        let app = TestApp::new().await;
        app.signed_up_backend("lab-1").await;
        let answer = app.post(PATH, json!({ "username": "lab-1", "password": PASSWORD })).send().await;
        assert_eq!(answer.error(), (409, "username_taken"));
        // Users have names of their own.
        app.signed_up_user("lab-1").await;
    }
}

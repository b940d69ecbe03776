//! `POST /api/v2/backend/signup`: a machine is registered.
//!
//! In: `username, password, maxContainers?, labName?, operatingSystem?`. Out: 201 with the backend and its
//! `DOCKHOST_API_KEY`, which its agent needs. Name and machine are one atomic batch.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::{Backend, EnrolBackend, Enrolled};
use dockhost_domain::claim::TakeClaim;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::BackendId;
use dockhost_domain::names::Username;
use dockhost_domain::session::StartSession;
use dockhost_domain::subject::{ClaimId, ClaimKind};
use dockhost_projections::backends::Backends;
use secrecy::SecretString;
use serde_json::json;

use super::sessions::{Beginning, holder, new_password, store};
use crate::auth::api_key::ApiKeyId;
use crate::common::clock;
use crate::execute::Batch;
use crate::http::app::App;
use crate::http::extract::caller::BACKEND_COOKIE;
use crate::http::extract::fields::Fields;
use crate::http::response::Reply;
use crate::http::response::error::{ApiError, Code, from_execute, impossible};
use crate::http::view;

const USUAL_CONTAINERS: u32 = 10;
const MOST_CONTAINERS: u32 = 3_000;
const LONGEST_TEXT: usize = 100;

struct SignUp {
    username: Username,
    password: SecretString,
    max_containers: u32,
    lab_name: Option<String>,
    operating_system: Option<String>,
}

fn label(body: &mut Fields, field: &str) -> Option<String> {
    let text = body.optional(field);
    body.check(field, text, |text| {
        if text.contains(char::is_control) {
            return Err("must be one line, without control characters");
        }
        let fits = text.chars().count() <= LONGEST_TEXT;
        if fits { Ok(text.to_owned()) } else { Err("must be at most 100 characters long") }
    })
}

fn read(mut body: Fields) -> Result<SignUp, ApiError> {
    let username = body.parsed::<Username>("username");
    let password = new_password(&mut body);
    let max_containers = body.number("maxContainers", 1, MOST_CONTAINERS).unwrap_or(USUAL_CONTAINERS);
    let lab_name = label(&mut body, "labName");
    let operating_system = label(&mut body, "operatingSystem");
    let read = username.zip(password).map(|(username, password)| SignUp {
        username,
        password,
        max_containers,
        lab_name,
        operating_system,
    });
    body.done(read)
}

fn username_taken() -> ApiError {
    ApiError::new(Code::UsernameTaken, "a backend of this name is registered")
}

/// Handles the request.
///
/// # Errors
/// `validation_failed`, `username_taken`, and those of the log.
pub async fn post(State(app): State<Arc<App>>, body: Fields) -> Result<Reply, ApiError> {
    let sign_up = read(body)?;
    let claim = app.keyring.claim(ClaimKind::Backend, sign_up.username.as_str());
    if holder(&app, claim).await?.is_some() {
        return Err(username_taken());
    }
    let password_verifier = app.passwords.hash(sign_up.password).await?;
    let backend_id = BackendId::from_uuid(clock::fresh_uuid());
    let details = Enrolled {
        username: sign_up.username.into(),
        password_verifier: password_verifier.into(),
        lab_name: sign_up.lab_name.map(Into::into),
        operating_system: sign_up.operating_system.map(Into::into),
        max_containers: sign_up.max_containers,
        key_version: 1,
    };
    let session = Beginning::of(backend_id.into(), &app.backend_tokens)?;
    let origin = app.origin(Actor::Anonymous);
    let sequence = store(&app, origin, |batch| decide(batch, backend_id, claim, &details, &session)).await?;
    app.await_projection::<Backends>(sequence).await;
    let backend = app.executor.state::<Backend>(backend_id).await?;
    let enrolled = || ApiError::bug("no machine after its enrolment");
    let machine = backend.state.machine.as_ref().ok_or_else(enrolled)?;
    let key = ApiKeyId { backend_id, version: machine.details.key_version };
    let key = app.api_keys.derive(key, machine.enrolled_at).map_err(|error| ApiError::internal(&error))?;
    let cookie = app.session_cookie(BACKEND_COOKIE, session.token);
    let data = json!({ "backend": view::backend(backend_id, machine), "DOCKHOST_API_KEY": key });
    Ok(Reply::created("the backend is registered", data).cookie(&cookie).position(app.position(sequence)))
}

/// The name, the machine and its first session: all or nothing.
async fn decide(
    mut batch: Batch,
    backend_id: BackendId,
    claim: ClaimId,
    details: &Enrolled,
    session: &Beginning,
) -> Result<Batch, ApiError> {
    let owner = backend_id.into();
    batch.decide(claim, &TakeClaim { owner }).await.map_err(|error| from_execute(error, |_| username_taken()))?;
    let enrol = EnrolBackend(details.clone());
    batch.decide(backend_id, &enrol).await.map_err(|error| from_execute(error, impossible))?;
    let start = StartSession(session.started.clone());
    batch.decide(owner, &start).await.map_err(|error| from_execute(error, impossible))?;
    Ok(batch)
}

//! `POST /api/v2/backend/signin`: a machine's owner signs in and gets its current `DOCKHOST_API_KEY` again.
//!
//! In: `username, password`. Out: 200. The key is derived, so a running agent is not disturbed.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::Backend;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::ClaimKind;
use serde_json::json;

use super::sessions::{Beginning, holder, invalid_credentials, password};
use crate::auth::api_key::ApiKeyId;
use crate::http::app::App;
use crate::http::extract::caller::BACKEND_COOKIE;
use crate::http::extract::fields::Fields;
use crate::http::response::ApiError;
use crate::http::response::Reply;
use crate::http::view;

/// Handles the request.
///
/// # Errors
/// `validation_failed`, `invalid_credentials`, and those of the log.
pub async fn post(State(app): State<Arc<App>>, mut body: Fields) -> Result<Reply, ApiError> {
    let read = body.required("username").zip(password(&mut body));
    let (name, password) = body.done(read)?;
    let claim = app.keyring.claim(ClaimKind::Backend, &name);
    let backend_id = holder(&app, claim).await?.map(|holder| BackendId::from_uuid(holder.uuid()));
    let machine = match backend_id {
        Some(id) => app.executor.confirmed::<Backend>(id).await?.state.machine.clone(),
        None => None,
    };
    let verifier = machine.as_ref().and_then(|machine| machine.details.password_verifier.plain().cloned());
    let matches = app.passwords.verify(password, verifier).await?;
    let (Some(backend_id), Some(machine), true) = (backend_id, machine, matches) else {
        return Err(invalid_credentials());
    };
    let key = ApiKeyId { backend_id, version: machine.details.key_version };
    let key = app.api_keys.derive(key, machine.enrolled_at).map_err(|error| ApiError::internal(&error))?;
    let session = Beginning::of(backend_id.into(), &app.backend_tokens)?;
    let (token, sequence) = session.record(&app, app.origin(Actor::Backend(backend_id))).await?;
    let cookie = app.session_cookie(BACKEND_COOKIE, token);
    let data = json!({ "backend": view::backend(backend_id, &machine), "DOCKHOST_API_KEY": key });
    Ok(Reply::ok("signed in", data).cookie(&cookie).position(app.position(sequence)))
}

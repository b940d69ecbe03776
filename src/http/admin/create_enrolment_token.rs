//! `POST /api/v2/admin/enrolment-tokens`: makes a token that registers one backend.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use dockhost_domain::enrolment::{CreateToken, TokenCreated};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::EnrolmentTokenId;
use dockhost_domain::labels::Labels;
use dockhost_domain::subject::AllEnrolmentTokens;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::enrolment_token_view::EnrolmentToken;
use crate::auth::one_time_token::{self, ENROLMENT};
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::LabelMap;

const DEFAULT_VALID_FOR: u32 = 24 * 60 * 60;

/// What the token is good for.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "validForSeconds": 3600, "maxContainers": 20 })))]
pub struct EnrolmentTokenRequest {
    /// For how long it can be used; the default is a day.
    #[garde(range(min = 60, max = 2_592_000))]
    #[schema(minimum = 60, maximum = 2_592_000, default = 86_400)]
    valid_for_seconds: Option<u32>,
    /// The capacity of the backend that is registered with it; the default is what the backend asks for.
    #[garde(range(min = 1, max = 3000))]
    #[schema(minimum = 1, maximum = 3000)]
    max_containers: Option<u32>,
    /// The labels of the backend that is registered with it.
    #[garde(skip)]
    #[schema(value_type = Option<LabelMap>)]
    labels: Option<Labels>,
}

/// A token and what is known of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedEnrolmentToken {
    token: EnrolmentToken,
    /// What the backend gives when it is registered. It is not shown again.
    enrolment_token: String,
}

error_responses!(
    CreateEnrolmentTokenErrors: ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, &[Code::NotFound, Code::TooManyTokens]
);

/// Create an enrolment token
///
/// Whoever has it can register one backend, as `enrolmentToken` of `POST /api/v2/backend/signup`; that backend needs no
/// approval. The body may be absent.
#[utoipa::path(
    post,
    path = "/api/v2/admin/enrolment-tokens",
    operation_id = "createEnrolmentToken",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(Repeatable),
    request_body = Option<EnrolmentTokenRequest>,
    responses(
        (status = 201, description = "The token.", body = Success<CreatedEnrolmentToken>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of its creation in the log."),
        )),
        CreateEnrolmentTokenErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    key: Repeatable,
    Body(EnrolmentTokenRequest { valid_for_seconds, max_containers, labels }): Body<EnrolmentTokenRequest>,
) -> Result<Reply<CreatedEnrolmentToken>, ApiError> {
    let (token_id, now) = (EnrolmentTokenId::from_uuid(clock::fresh_uuid()), clock::now());
    let secret = key.one_time_token(&app, ENROLMENT, token_id.uuid());
    let valid_for = Duration::from_secs(valid_for_seconds.unwrap_or(DEFAULT_VALID_FOR).into());
    let token = TokenCreated {
        token_id,
        hash: one_time_token::hash(secret.expose_secret()),
        by: admin,
        expires_at: now.after(valid_for),
        max_containers,
        labels: labels.unwrap_or_default(),
    };
    let origin = key.origin_of_new(&app, Actor::Admin(admin), token_id.uuid());
    let done =
        app.executor.execute(AllEnrolmentTokens, origin, CreateToken { token, now }).await.map_err(|error| {
            from_execute(error, |rejection| ApiError::new(Code::TooManyTokens, rejection.to_string()))
        })?;
    let first = done.created(token_id, EnrolmentTokenId::from_uuid);
    let secret = if first == token_id { secret } else { key.one_time_token(&app, ENROLMENT, first.uuid()) };
    let tokens = &done.current;
    // A repeated request may come after the token was forgotten.
    let token = tokens.state.get(first).ok_or_else(|| ApiError::not_found("token"))?;
    let data = CreatedEnrolmentToken {
        token: EnrolmentToken::new(first, token, now),
        enrolment_token: secret.expose_secret().to_owned(),
    };
    Ok(Reply::created("the token is created", data).position(app.position(tokens.sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    const PATH: &str = "/api/v2/admin/enrolment-tokens";

    #[tokio::test]
    async fn create_enrolment_token_shows_it_once_and_stores_its_hash() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let answer =
            app.post(PATH, json!({ "maxContainers": 4, "labels": { "gpu": "yes" } })).token(&boss.token).send().await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let secret = answer.data()["enrolmentToken"].as_str().unwrap().to_owned();
        let token = &answer.data()["token"];
        assert_eq!((&token["status"], &token["maxContainers"]), (&json!("valid"), &json!(4)));
        assert_eq!(token["labels"], json!({ "gpu": "yes" }));
        assert_eq!(token["createdBy"], json!(boss.id));
        let listed = app.get(PATH).token(&boss.token).send().await;
        assert_eq!(&listed.data()["items"], &json!([token]));
        assert!(!format!("{listed:?}{:?}", app.log.events()).contains(&secret), "it is shown or stored again");
    }

    #[tokio::test]
    async fn list_enrolment_tokens_comes_in_pages() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let mut created = Vec::new();
        for _ in 0..3 {
            let answer = app.post(PATH, json!({})).token(&boss.token).send().await;
            created.push(answer.data()["token"]["id"].clone());
        }
        let (mut listed, mut path) = (Vec::new(), format!("{PATH}?limit=2"));
        loop {
            let page = app.get(&path).token(&boss.token).send().await;
            listed.extend(page.data()["items"].as_array().unwrap().iter().map(|token| token["id"].clone()));
            let Some(cursor) = page.data()["nextCursor"].as_str() else { break };
            path = format!("{PATH}?limit=2&cursor={cursor}");
        }
        assert_eq!(listed, created);
    }
}

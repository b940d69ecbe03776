//! `POST /api/v2/admin/invitations`: makes an invitation, with which one person signs up.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::group::Groups;
use dockhost_domain::ids::{GroupId, InvitationId};
use dockhost_domain::invitation::{CreateInvitation, InvitationCreated};
use dockhost_domain::subject::{AllGroups, AllInvitations};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::invitation_view::Invitation;
use crate::auth::one_time_token::{self, INVITATION};
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Repeatable};
use crate::http::processors::Processors;
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

const DEFAULT_VALID_FOR: u32 = 7 * 24 * 60 * 60;

/// What the invitation is good for.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "validForSeconds": 86_400, "maxInstances": 2, "maxCpu": 4, "maxMemoryMib": 8192 })))]
pub struct InvitationRequest {
    /// For how long it can be used; the default is a week.
    #[garde(range(min = 60, max = 7_776_000))]
    #[schema(minimum = 60, maximum = 7_776_000, default = 604_800)]
    valid_for_seconds: Option<u32>,
    /// The most instances of the person who signs up with it; the default is that of their group or of the server's configuration.
    #[garde(range(max = 10_000))]
    #[schema(minimum = 0, maximum = 10_000)]
    max_instances: Option<u32>,
    /// The most processors that their instances may use in all, with at most three decimals; the default is that of their group.
    #[garde(skip)]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000)]
    max_cpu: Option<Processors>,
    /// The most memory that they may use in all, in MiB; the default is that of their group.
    #[garde(range(max = 1_000_000_000))]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    max_memory_mib: Option<u32>,
    /// The id of the group that the person is put into.
    #[garde(skip)]
    #[schema(value_type = Option<Uuid>)]
    group_id: Option<GroupId>,
}

/// An invitation and its token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedInvitation {
    invitation: Invitation,
    /// What the person gives to sign up. It is not shown again.
    token: String,
}

error_responses!(
    CreateInvitationErrors: ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, &[Code::NotFound, Code::TooManyTokens]
);

/// Create an invitation
///
/// Whoever has its token can sign up once, with it as `invitation` of `POST /api/v2/user/signup`. The body may be absent.
#[utoipa::path(
    post,
    path = "/api/v2/admin/invitations",
    operation_id = "createInvitation",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(Repeatable),
    request_body = Option<InvitationRequest>,
    responses(
        (status = 201, description = "The invitation.", body = Success<CreatedInvitation>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of its creation in the log."),
        )),
        CreateInvitationErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    key: Repeatable,
    Body(request): Body<InvitationRequest>,
) -> Result<Reply<CreatedInvitation>, ApiError> {
    let InvitationRequest { valid_for_seconds, max_instances, max_cpu, max_memory_mib, group_id } = request;
    if let Some(group_id) = group_id {
        let groups = app.executor.confirmed::<Groups>(AllGroups).await?;
        groups.state.get(group_id).ok_or_else(|| ApiError::not_found("group"))?;
    }
    let (invitation_id, now) = (InvitationId::from_uuid(clock::fresh_uuid()), clock::now());
    let secret = key.one_time_token(&app, INVITATION, invitation_id.uuid());
    let valid_for = Duration::from_secs(valid_for_seconds.unwrap_or(DEFAULT_VALID_FOR).into());
    let invitation = InvitationCreated {
        invitation_id,
        hash: one_time_token::hash(secret.expose_secret()),
        by: admin,
        expires_at: now.after(valid_for),
        max_instances,
        max_cpu_millis: max_cpu.map(Processors::millis),
        max_memory_mib,
        group_id,
    };
    let origin = key.origin_of_new(&app, Actor::Admin(admin), invitation_id.uuid());
    let done =
        app.executor.execute(AllInvitations, origin, CreateInvitation { invitation, now }).await.map_err(|error| {
            from_execute(error, |rejection| ApiError::new(Code::TooManyTokens, rejection.to_string()))
        })?;
    let first = done.created(invitation_id, InvitationId::from_uuid);
    let secret = if first == invitation_id { secret } else { key.one_time_token(&app, INVITATION, first.uuid()) };
    let all = &done.current;
    // A repeated request may come after the invitation was forgotten.
    let invitation = all.state.get(first).ok_or_else(|| ApiError::not_found("invitation"))?;
    let data = CreatedInvitation {
        invitation: Invitation::new(first, invitation, now),
        token: secret.expose_secret().to_owned(),
    };
    Ok(Reply::created("the invitation is created", data).position(app.position(all.sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::TestApp;

    const PATH: &str = "/api/v2/admin/invitations";

    #[tokio::test]
    async fn create_invitation_shows_its_token_once_and_stores_the_hash() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let terms = json!({ "maxInstances": 2, "maxCpu": 1.5, "maxMemoryMib": 4096 });
        let answer = app.post(PATH, terms).token(&boss.token).send().await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let secret = answer.data()["token"].as_str().unwrap().to_owned();
        let invitation = &answer.data()["invitation"];
        assert_eq!((&invitation["status"], &invitation["maxInstances"]), (&json!("valid"), &json!(2)));
        assert_eq!((&invitation["maxCpu"], &invitation["maxMemoryMib"]), (&json!(1.5), &json!(4096)));
        assert_eq!((&invitation["createdBy"], &invitation["userId"]), (&json!(boss.id), &Value::Null));
        let listed = app.get(PATH).token(&boss.token).send().await;
        assert_eq!(&listed.data()["items"], &json!([invitation]));
        assert!(!format!("{listed:?}{:?}", app.log.events()).contains(&secret), "it is shown or stored again");
    }

    #[tokio::test]
    async fn create_invitation_out_of_range_is_refused() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for body in [
            json!({ "validForSeconds": 59 }),
            json!({ "maxInstances": 10_001 }),
            json!({ "maxCpu": 0.0001 }),
            json!({ "maxMemoryMib": 1_000_000_001 }),
            json!({ "role": "admin" }),
        ] {
            let answer = app.post(PATH, body.clone()).token(&boss.token).send().await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{body}");
        }
    }

    #[tokio::test]
    async fn list_invitations_comes_in_pages() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let mut created = Vec::new();
        for _ in 0..3 {
            let answer = app.post(PATH, json!({})).token(&boss.token).send().await;
            created.push(answer.data()["invitation"]["id"].clone());
        }
        let first = app.get(&format!("{PATH}?limit=2")).token(&boss.token).send().await;
        let cursor = first.data()["nextCursor"].as_str().unwrap();
        let second = app.get(&format!("{PATH}?limit=2&cursor={cursor}")).token(&boss.token).send().await;
        let ids = |data: &Value| -> Vec<Value> {
            data["items"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect()
        };
        assert_eq!([ids(first.data()), ids(second.data())].concat(), created);
        assert_eq!(second.data()["nextCursor"], Value::Null);
    }
}

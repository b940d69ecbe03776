//! `POST /api/v2/admin/groups`: makes a group.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::group::{CreateGroup, Group as GroupTerms, GroupRejected, GroupSet};
use dockhost_domain::ids::GroupId;
use dockhost_domain::minutes::Minutes;
use dockhost_domain::names::GroupName;
use dockhost_domain::subject::AllGroups;
use dockhost_domain::timestamp::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::group_view::Group;
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Repeatable};
use crate::http::processors::Processors;
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

/// A new group.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "name": "Biology 7b", "maxInstances": 2, "maxCpu": 4, "maxMemoryMib": 8192, "endsAt": "2027-07-15T18:00:00Z" })))]
pub struct GroupRequest {
    /// Unique among groups without regard to case; not a UUID, and without a space at its ends.
    #[garde(skip)]
    #[schema(
        value_type = String,
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+$"
    )]
    name: GroupName,
    /// The most instances of each member; the default is that of the server's configuration.
    #[garde(range(max = 10_000))]
    #[schema(minimum = 0, maximum = 10_000)]
    max_instances: Option<u32>,
    /// The most processors that the instances of each member may use in all, with at most three decimals; the default is no
    /// limit.
    #[garde(skip)]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000)]
    max_cpu: Option<Processors>,
    /// The most memory that they may use in all, in MiB; the default is no limit.
    #[garde(range(max = 1_000_000_000))]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    max_memory_mib: Option<u32>,
    /// When the members' instances are stopped, and can't be resumed or created any more; the default is never.
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// For how many minutes an instance of a member may run; counted from its creation, or from when this was set or its owner was
    /// put into the group, if that was later. Then it is stopped. The default is no limit.
    #[garde(skip)]
    #[schema(value_type = Option<u32>, minimum = 5, maximum = 527_040)]
    time_to_live_minutes: Option<Minutes>,
    /// After how many minutes without an SSH connection an instance of a member is stopped; the default is never.
    #[garde(skip)]
    #[schema(value_type = Option<u32>, minimum = 5, maximum = 527_040)]
    autostop_minutes: Option<Minutes>,
}

error_responses!(
    CreateGroupErrors: ADMIN_OF_COMMAND, BODY, COMMAND, REPEATABLE,
    &[Code::NotFound, Code::GroupNameTaken, Code::TooManyGroups]
);

/// The answer to a rejection.
pub fn rejected(rejection: GroupRejected) -> ApiError {
    match rejection {
        GroupRejected::NotFound => ApiError::not_found("group"),
        GroupRejected::NameTaken => ApiError::new(Code::GroupNameTaken, rejection.to_string()),
        GroupRejected::TooMany => ApiError::new(Code::TooManyGroups, rejection.to_string()),
        GroupRejected::NotEmpty => ApiError::new(Code::GroupNotEmpty, rejection.to_string()),
    }
}

/// Create a group
///
/// Users are put into it by an administrator, or by the invitation with which they sign up.
#[utoipa::path(
    post,
    path = "/api/v2/admin/groups",
    operation_id = "createGroup",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(Repeatable),
    request_body = GroupRequest,
    responses(
        (status = 201, description = "The group.", body = Success<Group>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of its creation in the log."),
        )),
        CreateGroupErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    key: Repeatable,
    Body(request): Body<GroupRequest>,
) -> Result<Reply<Group>, ApiError> {
    let group_id = GroupId::from_uuid(clock::fresh_uuid());
    let GroupRequest { name, max_instances, max_cpu, max_memory_mib, ends_at, time_to_live_minutes, autostop_minutes } =
        request;
    let group = GroupTerms {
        name,
        max_instances,
        max_cpu_millis: max_cpu.map(Processors::millis),
        max_memory_mib,
        ends_at,
        time_to_live_minutes,
        autostop_minutes,
    };
    let create = CreateGroup(GroupSet { group_id, group });
    let done = app
        .executor
        .execute(AllGroups, key.origin_of_new(&app, Actor::Admin(admin), group_id.uuid()), create)
        .await
        .map_err(|error| from_execute(error, rejected))?;
    let group_id = done.created(group_id, GroupId::from_uuid);
    // A repeated request may come after the group was deleted.
    let group = done.current.state.get(group_id).ok_or_else(|| ApiError::not_found("group"))?;
    Ok(Reply::created("the group", Group::new(group_id, group)).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::{Value, json};

    use crate::http::testing::TestApp;

    const PATH: &str = "/api/v2/admin/groups";

    #[tokio::test]
    async fn group_is_created_changed_and_listed() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let end = "2027-07-15T18:00:00.000Z";
        let created = app.post(PATH, json!({ "name": "biology-7b", "endsAt": end })).token(&boss.token).send().await;
        assert_eq!(created.status, 201, "{created:?}");
        let (id, created_at) = (created.data()["id"].clone(), created.data()["createdAt"].clone());
        let expected = json!({
            "id": id, "name": "biology-7b", "maxInstances": null, "maxCpu": null, "maxMemoryMib": null, "endsAt": end,
            "timeToLiveMinutes": null, "autostopMinutes": null, "createdAt": created_at,
        });
        assert_eq!(created.data(), &expected);
        let again = app.post(PATH, json!({ "name": "Biology-7B" })).token(&boss.token).send().await;
        assert_eq!(again.error(), (409, "group_name_taken"));
        let change = |body: Value| {
            let path = format!("{PATH}/{}", id.as_str().unwrap());
            app.request(Method::PATCH, &path).json(body).token(&boss.token).send()
        };
        let changed =
            change(json!({ "name": "biology-8b", "maxInstances": 3, "maxCpu": 1.5, "maxMemoryMib": 9 })).await;
        assert_eq!((changed.status, &changed.data()["endsAt"]), (200, &json!(end)), "{changed:?}");
        let changed = change(json!({ "timeToLiveMinutes": 90, "autostopMinutes": 30 })).await;
        assert_eq!((changed.status, &changed.data()["timeToLiveMinutes"]), (200, &json!(90)), "{changed:?}");
        let changed = change(json!({ "endsAt": null, "maxMemoryMib": null })).await;
        let expected = json!({
            "id": id, "name": "biology-8b", "maxInstances": 3, "maxCpu": 1.5, "maxMemoryMib": null, "endsAt": null,
            "timeToLiveMinutes": 90, "autostopMinutes": 30, "createdAt": created_at,
        });
        assert_eq!(changed.data(), &expected);
        let events = app.log.events().len();
        assert_eq!((change(json!({})).await.data(), app.log.events().len()), (&expected, events));
        let listed = app.get(PATH).token(&boss.token).send().await;
        assert_eq!(listed.data()["items"], json!([expected]));
        for (search, found) in [("BIO", json!([expected])), ("chemistry", json!([]))] {
            let answer = app.get(&format!("{PATH}?search={search}")).token(&boss.token).send().await;
            assert_eq!(answer.data()["items"], found, "{search}");
        }
    }

    #[tokio::test]
    async fn group_with_an_invalid_member_or_unknown_is_refused() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for body in [
            json!({}),
            json!({ "name": " Biology" }),
            json!({ "name": "Biology\n7b" }),
            json!({ "name": "" }),
            json!({ "name": "biology-7b", "maxInstances": 10_001 }),
            json!({ "name": "biology-7b", "maxCpu": 0.0001 }),
            json!({ "name": "biology-7b", "maxMemoryMib": -1 }),
            json!({ "name": "biology-7b", "endsAt": "tomorrow" }),
            json!({ "name": "biology-7b", "timeToLiveMinutes": 4 }),
            json!({ "name": "biology-7b", "autostopMinutes": 527_041 }),
            json!({ "name": "biology-7b", "timeToLiveMinutes": "1 h" }),
        ] {
            let answer = app.post(PATH, body.clone()).token(&boss.token).send().await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{body}");
        }
        for id in ["biology-7b", "0193b3a0-0000-7000-8000-000000000001"] {
            let request = app.request(Method::PATCH, &format!("{PATH}/{id}")).json(json!({ "maxInstances": 3 }));
            assert_eq!(request.token(&boss.token).send().await.error(), (404, "not_found"), "{id}");
        }
    }
}

//! `GET /api/v2/admin/instances`: the instances of all users, with their owners.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use dockhost_domain::group::GroupLimits;
use dockhost_domain::ids::UserId;
use dockhost_domain::tenancy::Status;
use dockhost_projections::instances::{InstanceDocument, InstanceFilter, Instances, StatusNow};
use dockhost_projections::users::Users;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::list::{self, List, MAX_LIMIT};
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentAdmin, Query, ReadPosition};
use crate::http::group_of::limits_of_all;
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Instance;

/// Which instances.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct InstancesParameters {
    /// The id of their owner.
    #[param(value_type = Option<Uuid>)]
    user: Option<String>,
    /// The id of their owner's group.
    #[param(value_type = Option<Uuid>)]
    group: Option<String>,
    /// The id of their backend.
    #[param(value_type = Option<Uuid>)]
    backend: Option<String>,
    #[param(inline)]
    status: Option<StatusParameter>,
    /// Their name begins with this text, whatever the case of its letters.
    name: Option<String>,
    /// `true`: only those whose operation should have ended 10 seconds ago or earlier.
    overdue: Option<bool>,
    /// They were requested before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    created_before: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
}

/// An operation that should have ended so long ago is overdue. The leader ends one within a second of its deadline.
const OVERDUE_AFTER: Duration = Duration::from_secs(10);

impl InstancesParameters {
    /// Those whose operation is overdue, on the longest page.
    pub fn overdue() -> Self {
        Self { overdue: Some(true), limit: Some(MAX_LIMIT), ..Self::default() }
    }
}

/// The status of an instance that is not deleted.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StatusParameter {
    Creating,
    Running,
    Stopping,
    Stopped,
    Resuming,
    Deleting,
    Failed,
    Unreachable,
}

impl From<StatusParameter> for Status {
    fn from(status: StatusParameter) -> Self {
        match status {
            StatusParameter::Creating => Self::Creating,
            StatusParameter::Running => Self::Running,
            StatusParameter::Stopping => Self::Stopping,
            StatusParameter::Stopped => Self::Stopped,
            StatusParameter::Resuming => Self::Resuming,
            StatusParameter::Deleting => Self::Deleting,
            StatusParameter::Failed => Self::Failed,
            StatusParameter::Unreachable => Self::Unreachable,
        }
    }
}

/// An instance and its owner.
#[derive(Serialize, ToSchema)]
pub struct OwnedInstance {
    #[serde(flatten)]
    instance: Instance,
    owner: Owner,
}

/// The owner of an instance.
#[derive(Serialize, ToSchema)]
struct Owner {
    #[schema(value_type = Uuid)]
    id: UserId,
    /// Null once the user is erased.
    #[schema(required)]
    username: Option<String>,
}

impl OwnedInstance {
    /// Of a document, and the name and the group of its owner.
    pub fn new(app: &App, document: &InstanceDocument, username: Option<String>, group: GroupLimits) -> Self {
        let user_id = document.user_id;
        let instance = Instance::new(app, user_id, document.instance_id, &document.state, group);
        Self { instance, owner: Owner { id: user_id, username } }
    }

    /// With the first sequence that it lacks, if it lacks any.
    #[must_use]
    pub fn stale(self, since: Option<u64>) -> Self {
        Self { instance: self.instance.stale(since), ..self }
    }
}

error_responses!(AllInstancesErrors: ADMIN, READ_MODEL, &[Code::ValidationFailed]);

/// List all instances
///
/// Those of all users, the oldest first, without deleted ones.
#[utoipa::path(
    get,
    path = "/api/v2/admin/instances",
    operation_id = "listAllInstances",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(InstancesParameters, ReadPosition),
    responses(
        (status = 200, description = "The instances.", body = Success<List<OwnedInstance>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        AllInstancesErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    Query(parameters): Query<InstancesParameters>,
) -> Result<Reply<List<OwnedInstance>>, ApiError> {
    let page = list::page(parameters.limit, parameters.cursor.as_deref())?;
    let mut filter = filter(&app, &parameters)?;
    if let Some(id) = &parameters.group {
        let group = [list::parameter("group", id, "is not the id of a group")?];
        let members = consistency::read::<Users, _>(&app, position, || app.store.members_of(&group)).await?;
        filter.owners = Some(members.value);
    }
    let found = consistency::read::<Instances, _>(&app, position, || app.store.instances_of_all(&filter, page)).await?;
    let owners = || app.store.usernames(found.value.iter().map(|instance| instance.user_id).collect());
    let owners = consistency::read::<Users, _>(&app, position, owners).await?;
    let limits = limits_of_all(&app, found.value.iter().map(|instance| instance.user_id).collect()).await?;
    let since = found.stale_since.or(owners.stale_since);
    let position = found.position(&app, found.value.iter().map(|instance| instance.seq));
    let view = |document: InstanceDocument| {
        let user_id = document.user_id;
        let username = owners.value.get(&user_id).map(ToString::to_string);
        OwnedInstance::new(&app, &document, username, limits.get(&user_id).copied().unwrap_or_default())
    };
    let list = List::new(&page, found.value, since, |instance| instance.instance_id, view);
    Ok(Reply::ok("the instances", list).stale(since).position(position))
}

fn filter(app: &App, parameters: &InstancesParameters) -> Result<InstanceFilter, ApiError> {
    let owner = parameters.user.as_deref().map(|id| list::parameter("user", id, "is not the id of a user"));
    let backend = parameters.backend.as_deref().map(|id| list::parameter("backend", id, "is not the id of a backend"));
    let status =
        parameters.status.map(|status| StatusNow { status: status.into(), reachable: app.reachable_backends() });
    let time = |text| list::parameter("createdBefore", text, "is not a time, such as 2026-11-26T10:00:00Z");
    let created_before = parameters.created_before.as_deref().map(time).transpose()?;
    let name_prefix = list::text("name", parameters.name.clone())?.map(|name| name.to_ascii_lowercase());
    Ok(InstanceFilter {
        id: None,
        owner: owner.transpose()?,
        backend: backend.transpose()?,
        status,
        created_before,
        name_prefix,
        deadline_before: parameters.overdue.unwrap_or(false).then(|| clock::now().before(OVERDUE_AFTER)),
        ..InstanceFilter::default()
    })
}

#[cfg(test)]
mod tests {
    use dockhost_domain::reported::ShortText;
    use dockhost_domain::wire::{EngineState, MachineStatus};
    use serde_json::json;

    use crate::http::testing::{Answer, TestApp};

    const PATH: &str = "/api/v2/admin/instances";

    fn names(answer: &Answer) -> Vec<&str> {
        let items = answer.data()["items"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
        items.iter().map(|instance| instance["name"].as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn list_all_instances_has_those_of_all_users_with_their_owners() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada, eve) = (app.admin("boss").await, app.user("ada").await, app.user("eve").await);
        app.running_instance(&ada, "web").await;
        app.running_instance(&eve, "db").await;
        let answer = app.get(PATH).token(&boss.token).send().await;
        assert_eq!(names(&answer), ["web", "db"]);
        let owner = json!({ "id": eve.id.to_string(), "username": "eve" });
        assert_eq!(answer.data()["items"][1]["owner"], owner);
    }

    #[tokio::test]
    async fn list_all_instances_is_filtered_by_owner_backend_and_status_now() {
        let app = TestApp::new().await;
        let lab = app.connected_backend("lab-1", 9).await;
        let other = app.backend("lab-2", 9).await;
        let (boss, ada, eve) = (app.admin("boss").await, app.user("ada").await, app.user("eve").await);
        app.running_instance(&ada, "web").await;
        app.request_instance(&eve, "db").await;
        let get = async |query: &str| {
            let answer = app.get(&format!("{PATH}?{query}")).token(&boss.token).send().await;
            names(&answer).join(" ")
        };
        for (query, expected) in [
            (format!("user={}", ada.id), "web"),
            (format!("backend={}", lab.id), "web db"),
            (format!("backend={}", other.id), ""),
            ("status=running".to_owned(), "web"),
            ("status=creating".to_owned(), "db"),
            ("status=unreachable".to_owned(), ""),
            (format!("user={}&status=running", eve.id), ""),
            ("createdBefore=1970-01-01T00:00:00Z".to_owned(), ""),
            ("createdBefore=9000-01-01T00:00:00%2B01:00&status=creating".to_owned(), "db"),
            ("name=we".to_owned(), "web"),
            ("name=D".to_owned(), "db"),
            ("name=eb".to_owned(), ""),
            ("name=%24.*".to_owned(), ""),
            ("name=".to_owned(), "web db"),
            ("overdue=true".to_owned(), ""),
            ("overdue=false".to_owned(), "web db"),
            ("limit=1".to_owned(), "web"),
        ] {
            assert_eq!(get(&query).await, expected, "{query}");
        }
        // What is shown as unreachable is found as that, and as nothing else.
        let down = EngineState::Down { reason: ShortText::cleaned("it hangs") };
        app.beat(lab.id, MachineStatus { engine: Some(down), ..MachineStatus::default() });
        assert_eq!((get("status=unreachable").await, get("status=running").await), ("web".to_owned(), String::new()));
        assert_eq!(get("status=creating").await, "db");
    }

    #[tokio::test]
    async fn list_all_instances_with_an_invalid_parameter_is_refused() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for query in [
            "user=ada",
            "group=x",
            "backend=lab-1",
            "status=deleted",
            "createdBefore=yesterday",
            "name=%00",
            "overdue=perhaps",
            "limit=0",
            "cursor=x",
        ] {
            let answer = app.get(&format!("{PATH}?{query}")).token(&boss.token).send().await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{query}: {answer:?}");
        }
    }
}

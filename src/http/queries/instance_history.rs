//! `GET /api/v2/user/instance/{instanceId}/history`: what happened to one of the caller's instances. By its id, that of a
//! deleted one as well.

use std::sync::Arc;

use axum::extract::State;
use dockhost_projections::instances::{InstanceRef, Instances};

use super::instance::{missing, reference};
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentUser, Path, Query, ReadPosition};
use crate::http::past::history::{self, HistoryParameters, InstanceHistory, Reader};
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

error_responses!(HistoryErrors: CALLER, READ_MODEL, &[Code::NotFound, Code::ValidationFailed]);

/// Get the history of an instance
///
/// Each event of the instance with its cause and what it changed, the first one first; by the instance's id also after it was
/// deleted.
#[utoipa::path(
    get,
    path = "/api/v2/user/instance/{instanceId}/history",
    operation_id = "getInstanceHistory",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(
        ("instanceId" = String, Path, description = "The instance's id or its name."),
        HistoryParameters,
        ReadPosition,
    ),
    responses(
        (status = 200, description = "What happened.", body = Success<InstanceHistory>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        HistoryErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(id_or_name): Path<String>,
    position: ReadPosition,
    Query(parameters): Query<HistoryParameters>,
) -> Result<Reply<InstanceHistory>, ApiError> {
    let reference = reference(&id_or_name)?;
    let query = || match &reference {
        InstanceRef::Id(id) => app.store.instance(*id),
        InstanceRef::Name(_) => app.store.instance_of(user_id, &reference),
    };
    let found = consistency::read::<Instances, _>(&app, position, query).await?;
    let own = found.value.filter(|instance| instance.user_id == user_id);
    let instance = own.ok_or_else(|| missing(found.stale_since))?;
    history::page(&app, Reader::Owner(user_id), &instance, &parameters).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dockhost_domain::envelope::{Actor, Origin};
    use dockhost_domain::ids::{InstanceId, UserId};
    use dockhost_domain::subject::AggregateId;
    use dockhost_domain::tenancy::{ChangeInstance, Policy};
    use dockhost_domain::wire::{DesiredState, Phase, ReportKind};
    use serde_json::{Value, json};

    use crate::common::clock;
    use crate::http::testing::{Answer, Caller, TestApp, observation};

    /// A user whose instance `web` was created, and stopped by an administrator.
    async fn life(app: &TestApp) -> (Caller<UserId>, Caller<UserId>, InstanceId) {
        app.connected_backend("lab-1", 9).await;
        let (ada, boss) = (app.user("ada").await, app.admin("boss").await);
        app.running_instance(&ada, "db").await;
        let id = app.running_instance(&ada, "web").await;
        let origin = Origin::new(Actor::Admin(boss.id), "request:r-7");
        let to = DesiredState::Stopped;
        let stop = ChangeInstance { instance_id: id, to, now: clock::now(), policy: Policy::default() };
        app.app.executor.execute(ada.id, origin, stop).await.unwrap();
        app.report(ada.id, id, ReportKind::InstanceStatus(observation(Phase::Stopped))).await;
        (ada, boss, id)
    }

    async fn history(app: &TestApp, user: &Caller<UserId>, which: &str) -> Answer {
        app.get(&format!("/api/v2/user/instance/{which}")).token(&user.token).send().await
    }

    fn items(answer: &Answer) -> &Vec<Value> {
        answer.data()["items"].as_array().unwrap_or_else(|| panic!("{answer:?}"))
    }

    fn change<'a>(step: &'a Value, member: &str) -> (&'a Value, &'a Value) {
        let changes = step["changes"].as_array().unwrap();
        let change = changes.iter().find(|change| change["member"] == member);
        let change = change.unwrap_or_else(|| panic!("{member} is not among {changes:?}"));
        (&change["before"], &change["after"])
    }

    #[tokio::test]
    async fn instance_history_has_each_event_with_its_cause_and_what_it_changed() {
        let app = TestApp::new().await;
        let (ada, boss, id) = life(&app).await;
        let answer = history(&app, &ada, "web/history").await;
        let steps = items(&answer);
        let types: Vec<_> = steps.iter().map(|step| step["type"].as_str().unwrap()).collect();
        let expected = ["requested.v1", "observed.v1", "stop-requested.v1", "observed.v1"];
        assert_eq!(types, expected.map(|name| format!("dockhost.instance.{name}")));
        assert_eq!(steps[0]["actor"], json!({ "kind": "user", "id": ada.id.to_string() }));
        assert_eq!(change(&steps[0], "name"), (&Value::Null, &json!("web")));
        assert_eq!(change(&steps[1], "status"), (&json!("creating"), &json!("running")));
        assert_eq!(change(&steps[1], "sshPort"), (&Value::Null, &json!(20_001)));
        assert_eq!((&steps[2]["cause"], &steps[2]["requestId"]), (&json!("request:r-7"), &json!("r-7")));
        assert_eq!(steps[2]["actor"], json!({ "kind": "admin" }), "the owner is not told who it is");
        assert_eq!(steps[3]["requestId"], Value::Null);
        assert_eq!(answer.data()["personalDataErased"], false);

        let path = format!("/api/v2/admin/instances/{id}/history");
        let of_admin = app.get(&path).token(&boss.token).send().await;
        let actors: Vec<_> = items(&of_admin).iter().map(|step| &step["actor"]).collect();
        assert_eq!(*actors[2], json!({ "kind": "admin", "id": boss.id.to_string(), "name": "boss" }));
        assert_eq!(*actors[0], json!({ "kind": "user", "id": ada.id.to_string(), "name": "ada" }));
    }

    #[tokio::test]
    async fn instance_history_folded_step_by_step_is_what_each_query_showed() {
        let app = TestApp::new().await;
        let (ada, _, id) = life(&app).await;
        let answer = history(&app, &ada, "web/history").await;
        let mut members: BTreeMap<String, Value> = BTreeMap::new();
        for step in items(&answer) {
            for change in step["changes"].as_array().unwrap() {
                let known = members.insert(change["member"].as_str().unwrap().to_owned(), change["after"].clone());
                assert_eq!(known.unwrap_or_default(), change["before"], "{step}");
            }
            let at = format!("{id}?at={}", step["position"].as_str().unwrap());
            let shown = history(&app, &ada, &at).await;
            for (member, value) in &members {
                let pointer = format!("/{}", member.replace('.', "/"));
                assert_eq!(shown.data().pointer(&pointer), Some(value), "{member} {step}");
            }
        }
        assert!(members.len() > 8, "{members:?}");
    }

    #[tokio::test]
    async fn instance_history_in_pages_is_the_same() {
        let app = TestApp::new().await;
        let (ada, _, id) = life(&app).await;
        let whole = history(&app, &ada, "web/history").await;
        let (mut steps, mut cursor) = (Vec::new(), "0".to_owned());
        for page in 1.. {
            let answer = history(&app, &ada, &format!("{id}/history?limit=1&cursor={cursor}")).await;
            assert_eq!(items(&answer).len(), 1);
            steps.extend(items(&answer).clone());
            match answer.data()["nextCursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => {
                    assert_eq!(page, 4);
                    break;
                }
            }
        }
        assert_eq!(steps, *items(&whole));
        for query in ["limit=0", "limit=201", "cursor=x", "cursor=-1"] {
            let refused = history(&app, &ada, &format!("web/history?{query}")).await;
            assert_eq!(refused.error(), (422, "validation_failed"), "{query}");
        }
    }

    #[tokio::test]
    async fn instance_history_of_a_deleted_instance_is_found_by_its_id() {
        let app = TestApp::new().await;
        let (ada, boss, id) = life(&app).await;
        let eve = app.user("eve").await;
        let delete = app.delete("/api/v2/user/instance?instanceId=web").token(&ada.token);
        delete.header("prefer", "respond-async").send().await;
        app.report(ada.id, id, ReportKind::InstanceDeleted).await;
        let answer = history(&app, &ada, &format!("{id}/history")).await;
        let last = items(&answer).last().unwrap();
        assert_eq!(change(last, "status"), (&json!("deleting"), &json!("deleted")));
        assert_eq!(change(last, "name"), (&json!("web"), &Value::Null));
        assert_eq!(history(&app, &ada, "web/history").await.error(), (404, "not_found"));
        for which in [id.to_string(), "web".to_owned(), "%2A".to_owned()] {
            let others = history(&app, &eve, &format!("{which}/history")).await;
            assert_eq!((others.error(), others.details()), ((404, "not_found"), &json!({})), "{which}");
        }
        for (which, status) in [(id.to_string(), 200), (eve.id.to_string(), 404), ("web".to_owned(), 404)] {
            let path = format!("/api/v2/admin/instances/{which}/history");
            assert_eq!(app.get(&path).token(&boss.token).send().await.status, status, "{which}");
        }
    }

    #[tokio::test]
    async fn instance_history_up_to_an_unreadable_event_says_what_it_lacks() {
        let app = TestApp::new().await;
        let (ada, ..) = life(&app).await;
        let unreadable = app.log.put_unreadable(&AggregateId::Tenancy(ada.id).to_string(), "unknown variant");
        let answer = history(&app, &ada, "web/history").await;
        assert_eq!((items(&answer).len(), &answer.data()["stale"]), (4, &json!({ "since": unreadable })));
        assert_eq!(answer.header("dockhost-stale"), Some(unreadable.to_string().as_str()));
    }
}

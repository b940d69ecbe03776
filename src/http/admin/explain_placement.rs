//! `POST /api/v2/admin/placement/explain`: where an instance would be placed now, and why not elsewhere. Nothing is
//! created, stored or reserved.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::aggregate::Command;
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::labels::Labels;
use dockhost_domain::names::Username;
use dockhost_domain::placement::{Candidate, Ineligible};
use dockhost_domain::quota::Quota;
use dockhost_domain::sizes::SizeName;
use dockhost_domain::tenancy::{Lifetime, OnLost, RequestInstance, Tenancy, TenancyEvent};
use dockhost_domain::wire::RestartPolicy;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::common::clock;
use crate::http::app::App;
use crate::http::asked_size;
use crate::http::commands::create_instance::rejected;
use crate::http::extract::{Body, CurrentAdmin};
use crate::http::group_of::{default_quota, group_of};
use crate::http::processors::{self, Processors};
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::LabelMap;

/// The wanted instance.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "requires": { "gpu": "yes" } })))]
pub struct ExplainPlacementRequest {
    /// Whose instance it would be: whether this user may have another one counts then.
    #[garde(skip)]
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<UserId>,
    /// The labels that its backend must have.
    #[garde(skip)]
    #[schema(value_type = Option<LabelMap>)]
    requires: Option<Labels>,
    /// One of the server's sizes, instead of `cpu`, `memoryMib` and `pids`.
    #[garde(skip)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 32, pattern = "^[a-z][a-z0-9-]*$")]
    size: Option<SizeName>,
    /// The processor time that it may use, in processors.
    #[garde(skip)]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0.0)]
    cpu: Option<Processors>,
    /// The memory that it may use, in MiB.
    #[garde(skip)]
    memory_mib: Option<u32>,
    /// The processes and threads that it may have.
    #[garde(skip)]
    pids: Option<u32>,
}

/// What a create would do now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementExplanation {
    /// The backend that would be chosen; null if a create would be refused. Another one that is as good may be chosen at
    /// another time.
    #[schema(value_type = Option<Uuid>, required)]
    chosen: Option<BackendId>,
    /// How a create would be refused.
    #[schema(required)]
    refusal: Option<PlacementRefusal>,
    /// All backends, by id.
    backends: Vec<BackendVerdict>,
}

/// The error of a create.
#[derive(Serialize, ToSchema)]
struct PlacementRefusal {
    code: Code,
    message: String,
}

/// What a backend means to a placement. Of the backends that could take the instance, those with the fewest recent
/// refusals come first, and of these the one with the lowest share of its room in use.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BackendVerdict {
    #[schema(value_type = Uuid)]
    id: BackendId,
    #[schema(required)]
    username: Option<String>,
    /// Whether it could take the instance.
    eligible: bool,
    /// Why it could not, for programs.
    #[schema(value_type = Option<String>, required)]
    reason: Option<&'static str>,
    /// Why it could not.
    #[schema(required)]
    explanation: Option<String>,
    /// Placements that it refused or let fail lately, weighed by their age.
    recent_refusals: u32,
    /// Containers that are placed on it.
    containers: u32,
    /// The most containers that it may have.
    max_containers: u32,
    /// Its memory in MiB; null if it does not say what it has, or is not limited.
    #[schema(required)]
    memory_mib: Option<Share>,
    /// Its processor time in processors; null if it does not say what it has, or is not limited.
    #[schema(required)]
    cpu: Option<Share>,
    #[schema(value_type = LabelMap)]
    labels: Labels,
}

/// What instances on a backend may use.
#[derive(Serialize, ToSchema)]
#[schema(as = PlacementShare)]
struct Share {
    /// What those that are placed on it may use.
    used: f64,
    /// What all may use: what the machine has, times the overcommit.
    max: f64,
}

impl Share {
    fn new(used: u64, max: Option<u64>, show: impl Fn(u64) -> f64) -> Option<Self> {
        Some(Self { used: show(used), max: show(max?) })
    }
}

error_responses!(ExplainErrors: ADMIN_OF_COMMAND, BODY, &[Code::NotFound]);

/// Explain a placement
///
/// Says which backend a new instance would be placed on now, and for every backend whether it could take the instance and
/// why not. Nothing is created or reserved. The body may be absent.
#[utoipa::path(
    post,
    path = "/api/v2/admin/placement/explain",
    operation_id = "explainPlacement",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    request_body = Option<ExplainPlacementRequest>,
    responses(
        (status = 200, description = "What a create would do.", body = Success<PlacementExplanation>),
        ExplainErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Body(request): Body<ExplainPlacementRequest>,
) -> Result<Reply<PlacementExplanation>, ApiError> {
    let (tenancy, username, quota) = match request.user_id {
        Some(user_id) => owner(&app, user_id).await?,
        None => (Arc::default(), None, Quota::default()),
    };
    let ExplainPlacementRequest { size, cpu, memory_mib, pids, .. } = request;
    let limits = asked_size::limits(&app.settings.offer, size.clone(), cpu, memory_mib, pids)?;
    let instance_id = InstanceId::from_uuid(clock::fresh_uuid());
    let mut command = RequestInstance {
        instance_id,
        name: None,
        username: username.map_or_else(|| "nobody".parse(), Ok).map_err(|error| ApiError::internal(&error))?,
        ssh_public_key: String::new(),
        further_keys: Vec::new(),
        image: app.settings.image.clone(),
        limits,
        restart: RestartPolicy::default(),
        requires: request.requires.unwrap_or_default(),
        size,
        on_lost: OnLost::Wait,
        lifetime: Lifetime::default(),
        idempotency: None,
        quota,
        facts: app.follower.facts(app.settings.policy, instance_id),
    };
    app.follower.fleet().wait_for_room(&command.demand()).await;
    command.facts = app.follower.facts(app.settings.policy, instance_id);
    let (chosen, refusal) = match command.decide(&tenancy) {
        Ok(Some(TenancyEvent::Requested(requested))) => (Some(requested.choice.backend_id), None),
        Ok(_) => return Err(ApiError::bug("a request without an idempotency key repeats another")),
        Err(rejection) => {
            let error = rejected(rejection);
            (None, Some(PlacementRefusal { code: error.code(), message: error.message().to_owned() }))
        }
    };
    let demand = command.demand();
    let verdict = |candidate: &Candidate| {
        let reason = candidate.eligibility(&demand, &[]).err();
        BackendVerdict {
            id: candidate.backend_id,
            username: app.backend_name(candidate.backend_id),
            eligible: reason.is_none(),
            reason: reason.as_ref().map(Ineligible::code),
            explanation: reason.map(|reason| reason.explain()),
            recent_refusals: candidate.refusals,
            containers: candidate.used,
            max_containers: candidate.max_containers,
            memory_mib: Share::new(candidate.in_use.memory_mib, candidate.room.memory_mib, |mib| mib as f64),
            cpu: Share::new(candidate.in_use.cpu_millis, candidate.room.cpu_millis, processors::of_millis),
            labels: candidate.labels.clone(),
        }
    };
    let backends = command.facts.candidates.iter().map(verdict).collect();
    Ok(Reply::ok("what a create would do", PlacementExplanation { chosen, refusal, backends }))
}

/// The instances of this user, their name, and the quota if none is set for them.
async fn owner(app: &App, user_id: UserId) -> Result<(Arc<Tenancy>, Option<Username>, Quota), ApiError> {
    let account = app.executor.confirmed::<dockhost_domain::account::Account>(user_id).await?;
    let profile = account.state.profile.as_ref().ok_or_else(|| ApiError::not_found("user"))?;
    let tenancy = app.executor.confirmed::<Tenancy>(user_id).await?;
    let quota = default_quota(app, group_of(app, user_id).await?.as_ref());
    Ok((tenancy.state, profile.details.username.plain().cloned(), quota))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::backend::SetLabels;
    use dockhost_domain::wire::{MachineSize, MachineStatus};
    use serde_json::json;

    use crate::http::testing::TestApp;

    const PATH: &str = "/api/v2/admin/placement/explain";

    #[tokio::test]
    async fn explain_placement_says_for_each_backend_why_not_and_stores_nothing() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let (gpu, plain) = (app.connected_backend("lab-1", 5).await, app.connected_backend("lab-2", 5).await);
        let cordoned = app.connected_backend("lab-3", 5).await;
        app.cordon(cordoned.id, true).await;
        app.execute(gpu.id, SetLabels { labels: serde_json::from_value(json!({ "gpu": "yes" })).unwrap() }).await;
        let before = app.log.events().len();
        let explain = |body| app.post(PATH, body).token(&boss.token).send();
        let answer = explain(json!({ "requires": { "gpu": "yes" } })).await;
        assert_eq!((answer.status, &answer.data()["chosen"]), (200, &json!(gpu.id.to_string())), "{answer:?}");
        let shown: Vec<_> = answer.data()["backends"]
            .as_array()
            .unwrap()
            .iter()
            .map(|backend| json!([backend["username"], backend["eligible"], backend["reason"], backend["explanation"]]))
            .collect();
        assert_eq!(
            json!(shown),
            json!([
                ["lab-1", true, null, null],
                ["lab-2", false, "label_missing", "label gpu=yes missing"],
                ["lab-3", false, "cordoned", "it is cordoned"],
            ])
        );
        let size = MachineSize { memory_mib: 256, cpu_millis: 2000 };
        app.beat_with(plain.id, MachineStatus::default(), Some(size));
        let answer = explain(json!({ "size": "large" })).await;
        let lab_2 = &answer.data()["backends"][1];
        assert_eq!(lab_2["explanation"], "memory: 256 MiB free, 512 asked");
        assert_eq!((&lab_2["memoryMib"]["max"], &lab_2["cpu"]["max"]), (&json!(256.0), &json!(8.0)));
        assert_eq!(answer.data()["chosen"], gpu.id.to_string(), "it does not say what it has");
        let answer = explain(json!({ "requires": { "gpu": "no" } })).await;
        assert_eq!(
            (&answer.data()["chosen"], &answer.data()["refusal"]["code"]),
            (&json!(null), &json!("no_capacity"))
        );
        assert_eq!(app.log.events().len(), before);
        assert!(
            app.app.follower.fleet().candidates().iter().all(|candidate| candidate.used == 0),
            "nothing is reserved"
        );
        let chosen = explain(json!({})).await.data()["chosen"].clone();
        assert!([gpu.id, plain.id].map(|id| json!(id.to_string())).contains(&chosen));
    }

    #[tokio::test]
    async fn explain_placement_for_a_user_counts_what_the_user_may_have() {
        let app = TestApp::with(|settings| settings.quota = Some(1)).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        app.connected_backend("lab-1", 5).await;
        let explain = |user| app.post(PATH, json!({ "userId": user })).token(&boss.token).send();
        assert_eq!(explain(ada.id.to_string()).await.data()["refusal"], json!(null));
        app.request_instance(&ada, "web").await;
        assert_eq!(explain(ada.id.to_string()).await.data()["refusal"]["code"], "quota_exceeded");
        assert_eq!(explain(boss.id.to_string()).await.data()["refusal"], json!(null));
        // The quota of a group counts as well.
        let group = json!({ "name": "biology-7b", "maxCpu": 0.05 });
        let group = app.post("/api/v2/admin/groups", group).token(&boss.token).send().await.data()["id"].clone();
        let path = format!("/api/v2/admin/users/{}/group", boss.id);
        app.put(&path, json!({ "groupId": group })).token(&boss.token).send().await;
        assert_eq!(explain(boss.id.to_string()).await.data()["refusal"]["code"], "quota_exceeded");
        assert_eq!(explain("01a20000-0000-7000-8000-000000000001".to_owned()).await.error(), (404, "not_found"));
    }
}

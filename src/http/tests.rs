//! What all operations of the API's document have in common, for each of them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::Method;
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::backend::StartDrain;
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::event::Event;
use dockhost_domain::ids::{
    BackendId, EnrolmentTokenId, EventId, GroupId, InstanceId, InvitationId, PrincipalId, SessionId, UserId, WebhookId,
};
use dockhost_domain::session::Sessions;
use dockhost_domain::subject::{AggregateId, ClaimKind};
use dockhost_domain::tenancy::TenancyEvent;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::trace::TraceParent;
use dockhost_domain::wire::{Phase, ReportKind};
use dockhost_projections::Unreadable;
use serde_json::{Value, json};
use tracing::Level;
use tracing::instrument::WithSubscriber;

use super::app::Cookies;
use super::dockhost_v2;
use super::response::Code;
use super::testing::{Answer, Caller, DOCUMENT, PASSWORD, TestApp, TestRequest, observation};
use super::views::TokenScope;
use crate::auth::reset_token::ResetToken;
use crate::common::clock;
use crate::event_log::memory::Fault;
use crate::event_log::size::LogSize;

/// The subject of an aggregate that the fixture's read models have quarantined, and can fold again.
const QUARANTINED: &str = "dockhost.event.tenancy.0193b3a0-0000-7000-8000-000000000001";

/// How often `execute` and batches try again after a conflict, at most.
const MAX_ATTEMPTS: usize = 10;

#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) method: Method,
    path: String,
    pub(super) document: Value,
}

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, document) in item.as_object().unwrap() {
            operations.push(Operation {
                id: document["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                document: document.clone(),
            });
        }
    }
    assert!(operations.len() >= 15, "the document has too few operations");
    operations.extend(operations_of_dockhost_v2(&operations));
    operations
}

/// The operations that have a path of DockHostV2 as well, with that path.
fn operations_of_dockhost_v2(operations: &[Operation]) -> Vec<Operation> {
    let at = |(path, own): (&str, &str)| {
        let here: Vec<_> = operations.iter().filter(|operation| operation.path == own).cloned().collect();
        assert!(!here.is_empty(), "{own} has no operation");
        here.into_iter().map(move |operation| Operation { path: path.to_owned(), ..operation }).collect::<Vec<_>>()
    };
    dockhost_v2::PATHS.into_iter().flat_map(at).collect()
}

impl Operation {
    fn documents(&self, code: Code) -> bool {
        let response = &self.document["responses"][code.status().as_str()];
        let description = match response["$ref"].as_str() {
            Some(reference) => DOCUMENT.pointer(&reference[1..]).unwrap()["description"].clone(),
            None => response["description"].clone(),
        };
        description.as_str().is_some_and(|text| text.contains(&format!("`{}`", code.as_str())))
    }

    /// Whether only administrators may call it.
    pub(super) fn is_for_admins(&self) -> bool {
        self.path.starts_with("/api/v2/admin/")
    }

    fn is_secured(&self) -> bool {
        self.document.get("security").is_some()
    }

    /// The schema of the request's body.
    fn body_schema(&self) -> Option<Value> {
        let reference = self.document["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()?;
        DOCUMENT.pointer(&reference[1..]).cloned()
    }

    fn example(&self) -> Option<Value> {
        Some(self.body_schema()?["examples"][0].clone())
    }
}

/// A service with a user (`ada`, an administrator if the operation needs one), another user (`bob`), a backend (`lab-1`),
/// each signed in, and an instance that operations can change.
pub(super) struct Fixture {
    pub(super) app: TestApp,
    pub(super) user: Caller<UserId>,
    pub(super) other: Caller<UserId>,
    pub(super) backend: Caller<BackendId>,
    instance: InstanceId,
    /// The event that requested the instance, whose id is also that of the operation.
    request: EventId,
    /// A session of the user that no test uses.
    session: SessionId,
    /// The refresh token of a session of the user.
    refresh_token: String,
    /// A reset of the other user's password, if the operation needs one.
    reset: Option<ResetToken>,
    /// A valid enrolment token.
    token: EnrolmentTokenId,
    /// A valid API token of the user, if the operation needs one.
    api_token: Option<SessionId>,
    /// A group.
    group: GroupId,
    /// A valid invitation.
    invitation: InvitationId,
    /// A webhook of the user, if the operation needs one.
    webhook: Option<WebhookId>,
}

impl Fixture {
    pub(super) async fn new(operation: &Operation) -> Self {
        let app = TestApp::new().await;
        // Passwords take time to hash.
        let needs_password = operation.id.starts_with("signIn")
            || operation.body_schema().is_some_and(|schema| !schema["properties"]["currentPassword"].is_null());
        let (user, backend) = if needs_password {
            (app.signed_up_user("ada").await, app.signed_up_backend("lab-1").await)
        } else {
            (app.user("ada").await, app.backend("lab-1", 10).await)
        };
        if operation.is_for_admins() {
            app.make_admin(user.id).await;
        }
        let other = if needs_password { app.signed_up_user("bob").await } else { app.user("bob").await };
        app.connect(backend.id).await;
        let instance = app.running_instance(&user, "web").await;
        let is_request =
            |stored: &&RecordedEvent| matches!(stored.envelope.event, Event::Tenancy(TenancyEvent::Requested(_)));
        let request = app.log.events().iter().find(is_request).unwrap().envelope.meta.id;
        app.cordon(backend.id, operation.id == "uncordonBackend").await;
        if ["undrainBackend", "getDrain"].contains(&&*operation.id) {
            app.execute(backend.id, StartDrain { deadline: clock::now(), retire: false }).await;
        }
        if ["resumeInstance", "resumeAnyInstance"].contains(&&*operation.id) {
            let stop = app.put("/api/v2/user/instance/stop", json!({ "instanceId": "web" }));
            stop.token(&user.token).header("prefer", "respond-async").send().await;
            app.report(user.id, instance, ReportKind::InstanceStatus(observation(Phase::Stopped))).await;
        }
        if operation.id == "enableUser" {
            app.disable(other.id).await;
        }
        let (session, _) = app.start_session(user.id.into()).await;
        let refresh_token = app.refresh_token(user.id).await;
        let token = app.enrolment_token(user.id).await;
        let invitation = app.invitation(user.id).await;
        let group = app.group("chemistry-8a").await;
        let reset = (operation.id == "resetPassword").then(|| ResetToken::random(other.id));
        if let Some(reset) = &reset {
            app.issue_reset(reset).await;
        }
        app.store.quarantine("instances", Unreadable::new(QUARANTINED, 1, "unknown type"), true);
        let api_token = match operation.id.as_str() {
            "revokeToken" => Some(app.api_token(&user, TokenScope::Read).await.0),
            _ => None,
        };
        let webhook = if operation.path.contains("{webhookId}") { Some(app.webhook(user.id).await) } else { None };
        Self {
            app,
            user,
            other,
            backend,
            instance,
            request,
            session,
            refresh_token,
            token,
            api_token,
            group,
            invitation,
            reset,
            webhook,
        }
    }

    fn token(&self, operation: &Operation) -> &str {
        if operation.document["security"][0].get("backendToken").is_some() {
            &self.backend.token
        } else {
            &self.user.token
        }
    }

    fn session_of(&self, operation: &Operation) -> AggregateId {
        let is_backend = operation.document["security"][0].get("backendToken").is_some();
        let principal: PrincipalId = if is_backend { self.backend.id.into() } else { self.user.id.into() };
        Sessions::subject(principal)
    }

    /// A valid call that changes something, if the operation does.
    pub(super) fn call(&self, operation: &Operation) -> TestRequest<'_> {
        self.call_with(operation, operation.is_secured().then(|| self.token(operation)))
    }

    /// The same with this token.
    pub(super) fn call_with(&self, operation: &Operation, token: Option<&str>) -> TestRequest<'_> {
        // Administrators name an instance by its id.
        let instance = if operation.is_for_admins() { self.instance.to_string() } else { "web".to_owned() };
        let id = if operation.id == "getOperation" { self.request.to_string() } else { self.instance.to_string() };
        let path = operation
            .path
            .replace("{instanceId}", &instance)
            .replace("{userId}", &self.other.id.to_string())
            .replace("{backendId}", &self.backend.id.to_string())
            .replace("{sessionId}", &self.session.to_string())
            .replace("{tokenId}", &self.api_token.map_or_else(|| self.token.to_string(), |id| id.to_string()))
            .replace("{groupId}", &self.group.to_string())
            .replace("{invitationId}", &self.invitation.to_string())
            .replace("{keyId}", &self.user.id.to_string())
            .replace("{webhookId}", &self.webhook.map(|id| id.to_string()).unwrap_or_default())
            .replace("{subject}", QUARANTINED)
            .replace("{id}", &id);
        let path = match operation.id.as_str() {
            "removeBackend" => path + "?force=true",
            "getUsage" => path + "?from=2020-01-01T00:00:00Z",
            "resumeWebhook" => path + "?from=" + &self.app.app.position(1),
            _ => path,
        };
        let request = self.app.request(operation.method.clone(), &path).header("prefer", "respond-async");
        let request = if let Some(token) = token { request.token(token) } else { request };
        let Some(mut body) = operation.example() else { return request };
        match operation.id.as_str() {
            "signUp" => (body["username"], body["email"]) = (json!("eve"), json!("eve@example.org")),
            "signUpBackend" => body["username"] = json!("lab-2"),
            "signInBackend" => body["username"] = json!("lab-1"),
            "refreshSession" => body["refreshToken"] = json!(self.refresh_token),
            "resetPassword" => body["token"] = json!(self.reset.as_ref().unwrap().as_str()),
            "setUserGroup" => body["groupId"] = json!(self.group),
            _ => {}
        }
        if body.get("instanceId").is_some() {
            body["instanceId"] = json!("web");
        }
        request.json(body)
    }
}

#[tokio::test]
async fn operations_valid_call_succeeds() {
    for operation in operations() {
        let answer = Fixture::new(&operation).await.call(&operation).send().await;
        assert!((200..300).contains(&answer.status), "{}: {answer:?}", operation.id);
    }
}

#[tokio::test]
async fn operations_with_security_refuse_a_call_without_token() {
    let app = TestApp::new().await;
    for operation in operations().into_iter().filter(Operation::is_secured) {
        // The caller is checked before anything else is.
        let answer = app.request(operation.method, &operation.path).body("{").send().await;
        assert_eq!(answer.error(), (401, "unauthorized"), "{}: {answer:?}", operation.id);
    }
}

#[tokio::test]
async fn operations_with_body_answer_each_body_error() {
    for operation in operations().into_iter().filter(|operation| operation.body_schema().is_some()) {
        let fixture = Fixture::new(&operation).await;
        let request = || {
            let request = fixture.app.request(operation.method.clone(), &operation.path);
            if operation.is_secured() { request.token(fixture.token(&operation)) } else { request }
        };
        let json = |body: &'static str| request().header("content-type", "application/json").body(body);
        for body in [" ", "{", "[]", "null", "7"] {
            assert_eq!(json(body).send().await.error(), (400, "malformed_json"), "{}", operation.id);
        }
        // An empty body is no body: what is missing is named, if anything is.
        let is_required = operation.body_schema().is_some_and(|schema| schema["required"].is_array());
        if is_required {
            assert_eq!(json("").send().await.error(), (422, "validation_failed"), "{}", operation.id);
        }
        let answer = request().header("content-type", "text/plain").body("{}").send().await;
        assert_eq!(answer.error(), (415, "unsupported_media_type"), "{}", operation.id);
        let answer = request().body("{}").send().await;
        assert_eq!(answer.error(), (415, "unsupported_media_type"), "{}", operation.id);
        let answer = json(r#"{"unknown": 1}"#).send().await;
        assert_eq!(answer.error(), (422, "validation_failed"), "{}", operation.id);
        let problems = answer.details().as_array().unwrap();
        assert_eq!(problems.last().unwrap()["field"], "unknown", "{}: {answer:?}", operation.id);
        let answer = request().header("content-type", "application/json").body("x".repeat(65 * 1024)).send().await;
        assert_eq!(answer.error(), (413, "body_too_large"), "{}", operation.id);
        assert_eq!(answer.header("connection"), Some("close"));
    }
}

/// The problem with one field of a body; none if the field is valid.
async fn problem(fixture: &Fixture, operation: &Operation, field: &str, value: Value) -> Option<String> {
    let mut body = operation.example().unwrap();
    body[field] = value;
    // One more problem, so that nothing is executed.
    body["unknown"] = json!(true);
    let request = fixture.app.request(operation.method.clone(), &operation.path);
    let request = if operation.is_secured() { request.token(fixture.token(operation)) } else { request };
    let answer = request.json(body).send().await;
    let problems = answer.details().as_array().unwrap_or_else(|| panic!("{}: {answer:?}", operation.id)).clone();
    let problem = problems.iter().find(|problem| problem["field"] == field)?;
    Some(problem["problem"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn request_schemas_have_the_bounds_that_are_enforced() {
    let mut bounds = 0;
    for operation in operations().into_iter().filter(|operation| operation.body_schema().is_some()) {
        let fixture = Fixture::new(&operation).await;
        let schema = operation.body_schema().unwrap();
        assert_eq!(schema["additionalProperties"], false, "{}", operation.id);
        for (field, property) in schema["properties"].as_object().unwrap() {
            let problem = async |value: Value| problem(&fixture, &operation, field, value).await;
            let text = |length: &u64| json!("a".repeat(usize::try_from(*length).unwrap()));
            let required = schema["required"].as_array().is_some_and(|required| required.contains(&json!(field)));
            assert_eq!(problem(Value::Null).await.is_some(), required, "{}.{field} null", operation.id);
            let another_type = if property.to_string().contains("schemas/Labels") { json!([]) } else { json!({}) };
            assert!(problem(another_type).await.is_some(), "{}.{field} of another type", operation.id);
            if let Some(max) = property["maxLength"].as_u64() {
                bounds += 1;
                assert!(problem(text(&(max + 1))).await.is_some(), "{}.{field} longer than {max}", operation.id);
                if property["format"] != "email" {
                    assert_eq!(problem(text(&max)).await, None, "{}.{field} of {max}", operation.id);
                }
            }
            if let Some(min) = property["minLength"].as_u64() {
                bounds += 1;
                assert!(problem(text(&(min - 1))).await.is_some(), "{}.{field} shorter than {min}", operation.id);
                assert_eq!(problem(text(&min)).await, None, "{}.{field} of {min}", operation.id);
            }
            if let (Some(min), Some(max)) = (property["minimum"].as_i64(), property["maximum"].as_i64()) {
                bounds += 2;
                for (value, is_valid) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
                    assert_eq!(problem(json!(value)).await.is_none(), is_valid, "{}.{field} {value}", operation.id);
                }
            }
            if let Some(pattern) = property["pattern"].as_str() {
                bounds += 1;
                let matches = jsonschema::validator_for(&json!({ "pattern": pattern })).unwrap();
                for text in [
                    "aaaaaaaa",
                    "Aaaaaaaa",
                    "1aaaaaaa",
                    "aaaa aaa",
                    "aaaaaaa\n",
                    "aaa\u{7}aaaa",
                    "aaaa\u{85}aaa",
                    "aaaa-aa9",
                ] {
                    let is_valid = problem(json!(text)).await.is_none();
                    assert_eq!(matches.is_valid(&json!(text)), is_valid, "{}.{field} {text:?}", operation.id);
                }
            }
        }
    }
    assert!(bounds > 20, "too few bounds: {bounds}");
}

/// Calls every operation that documents a code, after something was arranged.
async fn assert_answered(code: Code, arrange: impl Fn(&Fixture, &Operation)) {
    let operations: Vec<_> = operations().into_iter().filter(|operation| operation.documents(code)).collect();
    assert!(!operations.is_empty());
    for operation in operations {
        let fixture = Fixture::new(&operation).await;
        arrange(&fixture, &operation);
        let answer: Answer = fixture.call(&operation).send().await;
        let retry_after = (answer.status == 503).then_some("1");
        assert_eq!(answer.error(), (code.status().as_u16(), code.as_str()), "{}: {answer:?}", operation.id);
        assert_eq!(answer.header("retry-after"), retry_after, "{}", operation.id);
    }
}

#[tokio::test]
async fn operations_log_unavailable_answer_broker_unavailable() {
    assert_answered(Code::BrokerUnavailable, |fixture, operation| {
        fixture.app.app.executor.aggregates().evict(fixture.session_of(operation));
        fixture.app.log.set_unavailable(true);
    })
    .await;
}

/// Its session may have ended through another replica.
#[tokio::test]
async fn queries_of_a_replica_that_is_cut_off_for_too_long_are_refused() {
    let queries = || operations().into_iter().filter(|one| one.method == Method::GET && one.is_secured());
    assert!(queries().count() >= 4, "too few queries");
    for (silence, is_refused) in [(60_000, false), (60_001, true)] {
        for operation in queries() {
            let fixture = Fixture::new(&operation).await;
            fixture.app.log_silence_ms.store(silence, Ordering::Relaxed);
            let answer = fixture.call(&operation).send().await;
            let refused = answer.status == 503 && answer.error().1 == "broker_unavailable";
            assert_eq!(refused, is_refused, "{} after {silence} ms: {answer:?}", operation.id);
        }
    }
}

#[tokio::test]
async fn operations_log_full_answer_log_full() {
    assert_answered(Code::LogFull, |fixture, _| fixture.app.log.fail_next(Fault::Full)).await;
}

/// What ends something, and every query, works up to the end of the log.
#[tokio::test]
async fn operations_in_the_logs_reserve_only_those_that_begin_something_are_refused() {
    let mut refused = BTreeSet::new();
    for operation in operations() {
        let fixture = Fixture::new(&operation).await;
        fixture.app.app.executor.capacity().record(LogSize { bytes: 90, max_bytes: Some(100) });
        let before = fixture.app.log.events().len();
        let answer = fixture.call(&operation).send().await;
        if answer.status == Code::LogFull.status() {
            assert_eq!(answer.error().1, "log_full", "{}: {answer:?}", operation.id);
            assert_eq!(fixture.app.log.events().len(), before, "{} was stored", operation.id);
            refused.insert(operation.id);
        } else {
            assert!((200..300).contains(&answer.status), "{}: {answer:?}", operation.id);
        }
    }
    let begin = [
        "addSshKey",
        "approveBackend",
        "changeAnyInstance",
        "changeGroup",
        "changeInstance",
        "changeRole",
        "changeWebhook",
        "createAdminWebhook",
        "createEnrolmentToken",
        "createGroup",
        "createInstance",
        "createInvitation",
        "createToken",
        "createWebhook",
        "enableUser",
        "issuePasswordReset",
        "resumeAnyInstance",
        "resumeInstance",
        "resumeWebhook",
        "setQuota",
        "setInstanceKeys",
        "setUserGroup",
        "signIn",
        "signInBackend",
        "signUp",
        "signUpBackend",
        "updateProfile",
    ]
    .map(str::to_owned);
    assert_eq!(refused, BTreeSet::from(begin));
}

#[tokio::test]
async fn operations_log_without_answer_answer_outcome_unknown() {
    assert_answered(Code::OutcomeUnknown, |fixture, _| fixture.app.log.fail_next(Fault::LostRequest)).await;
}

#[tokio::test]
async fn operations_repeated_conflicts_answer_busy() {
    assert_answered(Code::Busy, |fixture, _| {
        (0..MAX_ATTEMPTS).for_each(|_| fixture.app.log.fail_next(Fault::Conflict));
    })
    .await;
}

#[tokio::test]
async fn operations_unreadable_event_answers_aggregate_frozen() {
    assert_answered(Code::Frozen, |fixture, operation| {
        let claim = |kind, name| AggregateId::Claim(fixture.app.app.keyring.claim(kind, name));
        let aggregate = match operation.id.as_str() {
            "signUp" => claim(ClaimKind::Username, "eve"),
            "signIn" => claim(ClaimKind::Username, "ada"),
            "signUpBackend" => claim(ClaimKind::Backend, "lab-2"),
            "signInBackend" => claim(ClaimKind::Backend, "lab-1"),
            "resetPassword" => AggregateId::Account(fixture.other.id),
            _ => fixture.session_of(operation),
        };
        fixture.app.log.put_unreadable(&aggregate.to_string(), "unknown variant");
        fixture.app.app.executor.aggregates().evict(aggregate);
    })
    .await;
}

#[tokio::test]
async fn operations_database_down_answer_database_unavailable() {
    assert_answered(Code::DatabaseUnavailable, |fixture, _| fixture.app.store.set_unavailable(true)).await;
}

#[tokio::test]
async fn queries_with_a_position_wait_for_it() {
    for operation in operations().into_iter().filter(|operation| operation.documents(Code::NotCaughtUp)) {
        let fixture = Fixture::new(&operation).await;
        let call = |position: &str| fixture.call(&operation).header("dockhost-position", position).send();
        assert_eq!(call(&fixture.app.app.position(1)).await.status, 200, "{}", operation.id);
        for position in ["", "7", "a.b", "x.7", ".7", "7.", "-1.-1", "another-log.1"] {
            assert_eq!(call(position).await.error(), (400, "invalid_header"), "{}: {position}", operation.id);
        }
        let ahead = fixture.app.app.position(999_999);
        // The clock jumps over the wait.
        tokio::time::pause();
        assert_eq!(call(&ahead).await.error(), (503, "not_caught_up"), "{}", operation.id);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_the_envelope() {
    let app = TestApp::new().await;
    for path in ["/no-such-path", "/api", "/api/v2/user/instance/", "/api/v2//user/instance"] {
        assert_eq!(app.get(path).send().await.error(), (404, "not_found"), "{path}");
    }
    let answer = app.request(Method::PATCH, "/api/v2/user/instance").send().await;
    assert_eq!(answer.error(), (405, "method_not_allowed"));
    assert!(answer.header("allow").is_some_and(|methods| methods.contains("POST")), "{answer:?}");
}

#[tokio::test]
async fn authorization_of_another_scheme_leaves_the_cookie_in_force() {
    let app = TestApp::new().await;
    let user = app.user("ada").await;
    let call = async |authorization: &[&str], cookie: bool| {
        let mut request = app.get("/api/v2/user/instance");
        for value in authorization {
            request = request.header("authorization", &value.replace("TOKEN", &user.token));
        }
        if cookie {
            request = request.header("cookie", &format!("accessToken={}", user.token));
        }
        request.send().await.status
    };
    // A proxy in front may ask for credentials of its own.
    for authorization in [&[][..], &["Basic YWRhOnB3"], &[""], &["Basic YWRhOnB3", "Digest x"]] {
        assert_eq!(call(authorization, true).await, 200, "{authorization:?}");
        assert_eq!(call(authorization, false).await, 401, "{authorization:?}");
    }
    assert_eq!(call(&["Basic YWRhOnB3", "Bearer TOKEN"], false).await, 200);
    // A bearer token wins, good or not.
    assert_eq!(call(&["Bearer wrong"], true).await, 401);
}

#[tokio::test]
async fn commands_with_the_cookie_from_a_foreign_page_are_refused() {
    let commands: Vec<_> = operations().into_iter().filter(|o| o.is_secured() && o.method != Method::GET).collect();
    assert!(commands.len() >= 5 && commands.iter().all(|operation| operation.documents(Code::ForeignOrigin)));
    for operation in commands {
        let fixture = Fixture::new(&operation).await;
        let path = operation.path.clone();
        let call = async |origin: &str, header: &str, value: &str| {
            let request = fixture.app.request(operation.method.clone(), &path).header("host", "box:3001");
            let request = request.header("prefer", "respond-async");
            request.header("origin", origin).header(header, value).send().await
        };
        let cookie = format!("accessToken={}", fixture.token(&operation));
        let refused = call("http://box:28999", "cookie", &cookie).await;
        assert_eq!(refused.error(), (403, "foreign_origin"), "{}", operation.id);
        for (origin, header, value) in [
            ("http://box:3001", "cookie", cookie.clone()),
            // No browser adds this header by itself.
            ("http://box:28999", "authorization", format!("Bearer {}", fixture.token(&operation))),
        ] {
            let answer = call(origin, header, &value).await;
            assert_ne!(answer.status, 403, "{} {header}: {answer:?}", operation.id);
        }
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_with_the_time_to_wait() {
    let app = TestApp::limited("read=2/h, change=1/h, create=1/h").await;
    let (ada, eve) = (app.user("ada").await, app.user("eve").await);
    let list =
        async |token: &str, address: &str| app.get("/api/v2/user/instance").token(token).peer(address).send().await;
    for remaining in [1, 0] {
        let answer = list(&ada.token, "192.0.2.1").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"read\";q=2;w=3600"));
        let left = answer.header("ratelimit").unwrap();
        assert!(left.starts_with(&format!("\"read\";r={remaining};t=")), "{left}");
    }
    // An account has its limit, from whatever address it calls.
    let refused = list(&ada.token, "192.0.2.2").await;
    assert_eq!(refused.error(), (429, "rate_limited"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1700..=1800).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit").is_some() && refused.header("ratelimit-policy").is_some(), "{refused:?}");
    assert_eq!(list(&eve.token, "192.0.2.1").await.status, 200);
    // Without a genuine token the address has one.
    for status in [401, 401, 429] {
        assert_eq!(list("garbage", "192.0.2.3").await.status, status);
    }
    assert_eq!(list("garbage", "192.0.2.4").await.status, 401);
    // Other endpoints are not affected, and the health check has no limit.
    assert_ne!(app.post("/api/v2/user/instance", json!({})).token(&ada.token).send().await.status, 429);
    for _ in 0..5 {
        let health = app.get("/health").send().await;
        assert_eq!((health.status, health.header("ratelimit")), (200, None));
    }
}

#[tokio::test]
async fn cookies_follow_the_setting() {
    let app = TestApp::with(|settings| settings.cookies = Cookies::Secure).await;
    let user = app.signed_up_user("ada").await;
    let sign_in = json!({ "username": "ada", "password": PASSWORD });
    let answer = app.post("/api/v2/user/signin", sign_in.clone()).send().await;
    let token = answer.cookie("__Host-accessToken").unwrap();
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("Secure") && cookie.contains("Path=/") && !cookie.contains("Domain"), "{cookie}");
    let list = async |app: &TestApp, cookie: &str| {
        app.get("/api/v2/user/instance").header("cookie", cookie).send().await.status
    };
    assert_eq!(list(&app, &format!("__Host-accessToken={token}")).await, 200);
    // A session of an earlier version, and one that another server on this host planted beside ours.
    assert_eq!(list(&app, &format!("accessToken={}", user.token)).await, 200);
    assert_eq!(list(&app, &format!("accessToken=planted; __Host-accessToken={token}")).await, 200);

    let app = TestApp::with(|settings| settings.cookies = Cookies::Off).await;
    let user = app.signed_up_user("ada").await;
    assert_eq!(app.post("/api/v2/user/signin", sign_in).send().await.header("set-cookie"), None);
    assert_eq!(list(&app, &format!("accessToken={}", user.token)).await, 401);
    assert_eq!(app.get("/api/v2/user/instance").token(&user.token).send().await.status, 200);
}

#[tokio::test]
async fn sessions_last_as_long_as_the_setting_says() {
    let app = TestApp::with(|settings| settings.session_lifetime = Duration::from_secs(7 * 3600)).await;
    app.signed_up_user("ada").await;
    let before = clock::now();
    let answer = app.post("/api/v2/user/signin", json!({ "username": "ada", "password": PASSWORD })).send().await;
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=25200"), "{answer:?}");
    let token = answer.data()["accessToken"].as_str().unwrap();
    let listed = app.get("/api/v2/user/sessions").token(token).send().await;
    let expires_at = listed.data()[0]["expiresAt"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let lifetime = expires_at.since(before).as_secs();
    assert!((7 * 3600..7 * 3600 + 60).contains(&lifetime), "{lifetime}");
}

/// The trace of the last event in the log.
fn last_trace(app: &TestApp) -> TraceParent {
    app.log.events().pop().unwrap().envelope.origin.trace_parent.unwrap()
}

#[tokio::test]
async fn trace_of_a_request_is_that_of_its_events_and_a_malformed_one_is_replaced() {
    let app = TestApp::new().await;
    let user = app.user("ada").await;
    let change = async |trace: &str| {
        let request = app.post("/api/v2/user/tokens", json!({ "name": "laptop", "scope": "read" }));
        let answer = request.header("traceparent", trace).token(&user.token).send().await;
        assert_eq!(answer.status, 201, "{answer:?}");
        last_trace(&app)
    };
    let sent: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let event = change(&sent.to_string()).await;
    assert_eq!((event.trace_id, event.is_sampled), (sent.trace_id, true));
    assert_ne!(event.span_id, sent.span_id, "the event is caused by the span of the request, not by the client's");
    let (first, second) = (change("ada@example.org").await, change("").await);
    assert!(first.trace_id != second.trace_id && first.trace_id != sent.trace_id, "{first:?} {second:?}");
}

#[tokio::test]
async fn access_line_has_the_ids_of_request_and_trace_and_the_route() {
    let (app, file) = (TestApp::new().await, tempfile::NamedTempFile::new().unwrap());
    let lines =
        tracing_subscriber::fmt().json().with_max_level(Level::DEBUG).with_writer(file.reopen().unwrap()).finish();
    let request = app.get("/api/v2/user/instance/canary").header("x-request-id", "r-7");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = request.header("traceparent", trace).send().with_subscriber(lines).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let log = std::fs::read_to_string(file.path()).unwrap();
    assert!(!log.contains("canary"), "{log}");
    let line = log.lines().find(|line| line.contains("\"answered\"")).unwrap_or_else(|| panic!("{log}"));
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["target"], &line["fields"]["status"]), (&json!("dockhost::access"), &json!(401)));
    let span = json!({
        "name": "request",
        "id": "r-7",
        "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
        "method": "GET",
        "route": "/api/v2/user/instance/{instanceId}",
    });
    assert_eq!(line["spans"], json!([span]));
}

#[tokio::test]
async fn request_id_malformed_is_replaced() {
    let app = TestApp::new().await;
    for (id, is_kept) in [("a-b_c.9", true), ("two words", false), ("<script>", false), (&"i".repeat(65), false)] {
        let answer = app.get("/no-such-path").header("x-request-id", id).send().await;
        let given = answer.header("x-request-id").unwrap();
        assert_eq!(given == id, is_kept, "{id}: {answer:?}");
        assert_eq!(answer.body["error"]["requestId"], given);
    }
}

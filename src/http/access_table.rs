//! Who may call what: every route of the router with every kind of caller. A new route needs a row here; a new kind of
//! caller is a new column.

use axum::http::Method;
use dockhost_domain::backend::RevokeKey;

use super::testing::{DOCUMENT, TestApp};
use super::tests::{Fixture, Operation, operations};
use super::views::TokenScope;

/// What a caller is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The request is carried out, or refused for another reason than its caller: anything but 401, 403 and 404.
    Allowed,
    /// 404: what belongs to somebody else is answered like what does not exist.
    NotFound,
    /// 401: the caller must sign in, as another kind of principal if they are signed in.
    SignIn,
    /// 403 `forbidden`: signed in, but without the right.
    Forbidden,
    /// 403 `insufficient_scope`: by an API token that may not do this.
    Scope,
}

use Access::{Allowed, Forbidden, NotFound, Scope, SignIn};

type Row = [Access; Caller::ALL.len()];

/// Everybody, signed in or not.
const ANYONE: Row = [Allowed; Caller::ALL.len()];
/// Queries of users.
const QUERIES: Row = users(Allowed, [Allowed, Allowed, Allowed]);
/// Queries about one thing of a user.
const QUERIES_OF_ONE: Row = users(NotFound, [Allowed, Allowed, Allowed]);
/// The command of users that makes an instance.
const CREATING: Row = users(Allowed, [Scope, Allowed, Allowed]);
/// Commands of users on one of their instances.
const ON_INSTANCES: Row = users(NotFound, [Scope, Allowed, Allowed]);
/// Other commands of users.
const COMMANDS: Row = users(Allowed, [Scope, Scope, Allowed]);
/// Other commands about one thing of a user.
const COMMANDS_ON_ONE: Row = users(NotFound, [Scope, Scope, Allowed]);
/// Commands of users who have signed in.
const SIGNED_IN: Row = users(Allowed, [Scope, Scope, Scope]);
const BACKENDS: Row = row([Allowed, Allowed, SignIn, Allowed], [SignIn, SignIn, SignIn], [SignIn, SignIn, SignIn]);
const ADMINISTRATORS: Row =
    row([SignIn, SignIn, SignIn, SignIn], [Forbidden, Forbidden, Allowed], [Scope, Scope, Allowed]);

/// Whoever is a user, and for a user who asks for something of another one the answer `other`.
const fn users(other: Access, tokens: [Access; 3]) -> Row {
    row([SignIn, SignIn, SignIn, SignIn], [Allowed, other, Allowed], tokens)
}

/// In the order of [`Caller::ALL`]. Who is nobody, or nobody any more, must sign in.
const fn row(backends: [Access; 4], people: [Access; 3], tokens: [Access; 3]) -> Row {
    let ([backend, pending, revoked, key], [user, other, admin], [read, instances, all]) = (backends, people, tokens);
    [SignIn, user, other, SignIn, SignIn, SignIn, backend, pending, revoked, key, SignIn, admin, read, instances, all]
}

/// A kind of caller: a column of the table.
#[derive(Debug, Clone, Copy)]
enum Caller {
    Nobody,
    /// The user whose things the request is about, or the user whom an administrator's request is about.
    User,
    /// A user whom the request does not concern.
    OtherUser,
    /// A user whose session has ended.
    SignedOut,
    /// A user whose account is disabled, and who was an administrator.
    Disabled,
    /// A revoked API token of an administrator.
    RevokedToken,
    Backend,
    /// A backend that awaits approval.
    PendingBackend,
    /// A backend whose API key is revoked.
    RevokedBackend,
    /// The API key of a backend's agent.
    ApiKey,
    /// An API key that is revoked.
    RevokedApiKey,
    /// An administrator, whose things requests of users are about.
    Admin,
    /// An API token of an administrator.
    Token(TokenScope),
}

impl Caller {
    /// Some make the user an administrator, so they come after the users.
    const ALL: [Self; 15] = [
        Self::Nobody,
        Self::User,
        Self::OtherUser,
        Self::SignedOut,
        Self::Disabled,
        Self::RevokedToken,
        Self::Backend,
        Self::PendingBackend,
        Self::RevokedBackend,
        Self::ApiKey,
        Self::RevokedApiKey,
        Self::Admin,
        Self::Token(TokenScope::Read),
        Self::Token(TokenScope::Instances),
        Self::Token(TokenScope::All),
    ];
}

/// The rows: an operation, and what the callers are answered, in the order of [`Caller::ALL`].
fn expected(operation: &str) -> Option<Row> {
    Some(match operation {
        "signUp" | "signIn" | "refreshSession" | "resetPassword" | "signUpBackend" | "signInBackend" | "health"
        | "live" | "ready" | "home" => ANYONE,
        // Whoever has a token can end it, so a sign-out needs no more than a query.
        "signOut" | "listInstances" | "getMe" | "watchEvents" | "listWebhooks" | "exportAccount" | "listSessions"
        | "listTokens" | "listSshKeys" => QUERIES,
        "getInstance" | "getInstanceHistory" | "getOperation" | "getWebhook" | "listWebhookDeliveries" => {
            QUERIES_OF_ONE
        }
        "createInstance" => CREATING,
        "deleteInstance" | "stopInstance" | "resumeInstance" | "setInstanceKeys" | "changeInstance" => ON_INSTANCES,
        // Ending a session that one does not have, or not any more, changes nothing.
        "updateProfile" | "endSession" | "endOtherSessions" | "addSshKey" | "createWebhook" => COMMANDS,
        "revokeToken"
        | "removeSshKey"
        | "changeWebhook"
        | "removeWebhook"
        | "rotateWebhookSecret"
        | "pingWebhook"
        | "resumeWebhook" => COMMANDS_ON_ONE,
        "changePassword" | "deleteAccount" | "createToken" => SIGNED_IN,
        "getBackend" => BACKENDS,
        "listUsers"
        | "getUser"
        | "changeRole"
        | "disableUser"
        | "enableUser"
        | "eraseUser"
        | "getQuota"
        | "setQuota"
        | "endUserSessions"
        | "stopAnyInstance"
        | "resumeAnyInstance"
        | "deleteAnyInstance"
        | "changeAnyInstance"
        | "issuePasswordReset"
        | "listBackends"
        | "getAnyBackend"
        | "listAllInstances"
        | "getAnyInstance"
        | "getAnyInstanceHistory"
        | "listEvents"
        | "watchAllEvents"
        | "getUsage"
        | "getCharts"
        | "listAdminWebhooks"
        | "createAdminWebhook"
        | "approveBackend"
        | "setBackendCapacity"
        | "setBackendLabels"
        | "explainPlacement"
        | "cordonBackend"
        | "uncordonBackend"
        | "revokeBackendKey"
        | "issueBackendKey"
        | "rotateBackendKey"
        | "removeBackend"
        | "drainBackend"
        | "undrainBackend"
        | "getDrain"
        | "listEnrolmentTokens"
        | "createEnrolmentToken"
        | "revokeEnrolmentToken"
        | "listGroups"
        | "createGroup"
        | "getGroup"
        | "changeGroup"
        | "deleteGroup"
        | "setUserGroup"
        | "listInvitations"
        | "createInvitation"
        | "revokeInvitation"
        | "listAllSessions"
        | "endAnySession"
        | "listQuarantine"
        | "retryQuarantined"
        | "getRefusals"
        | "listSettings" => ADMINISTRATORS,
        _ => return None,
    })
}

/// The token of a caller of this kind.
async fn token(operation: &Operation, caller: Caller, fixture: &Fixture) -> Option<String> {
    let app: &TestApp = &fixture.app;
    match caller {
        Caller::Nobody => None,
        Caller::SignedOut => {
            let user = app.admin("eve").await;
            let out = app.post("/api/v2/user/signout", serde_json::json!({})).token(&user.token).send().await;
            assert_eq!(out.status, 200);
            Some(user.token)
        }
        Caller::Disabled => {
            app.make_admin(fixture.user.id).await;
            let user = app.admin("mallory").await;
            app.disable(user.id).await;
            Some(user.token)
        }
        Caller::Backend => Some(fixture.backend.token.clone()),
        Caller::PendingBackend => {
            let id = app.pending_backend("lab-pending").await;
            Some(app.backend_session(id).await)
        }
        Caller::RevokedBackend => {
            let backend = app.backend("lab-revoked", 10).await;
            app.execute(backend.id, RevokeKey).await;
            Some(backend.token)
        }
        Caller::ApiKey => Some(app.api_key(fixture.backend.id).await),
        Caller::RevokedApiKey => {
            let backend = app.backend("lab-without-key", 10).await;
            let key = app.api_key(backend.id).await;
            app.execute(backend.id, RevokeKey).await;
            Some(key)
        }
        // The user whom this is about is disabled.
        Caller::User if operation.id == "enableUser" => Some(app.user("dave").await.token),
        // The other user's account is what these are about.
        Caller::User if operation.is_for_admins() => Some(fixture.other.token.clone()),
        Caller::User => Some(fixture.user.token.clone()),
        Caller::OtherUser if operation.is_for_admins() => Some(app.user("carol").await.token),
        Caller::OtherUser => Some(fixture.other.token.clone()),
        Caller::Admin => {
            app.make_admin(fixture.user.id).await;
            Some(fixture.user.token.clone())
        }
        Caller::Token(scope) => {
            app.make_admin(fixture.user.id).await;
            Some(app.api_token(&fixture.user, scope).await.1)
        }
        Caller::RevokedToken => {
            app.make_admin(fixture.user.id).await;
            let (id, token) = app.api_token(&fixture.user, TokenScope::All).await;
            let revoke = app.request(Method::DELETE, &format!("/api/v2/user/tokens/{id}")).token(&fixture.user.token);
            assert_eq!(revoke.send().await.status, 200);
            Some(token)
        }
    }
}

/// What a caller is answered.
async fn found(operation: &Operation, caller: Caller, fixture: &Fixture) -> (Access, String) {
    let token = token(operation, caller, fixture).await;
    let answer = fixture.call_with(operation, token.as_deref()).send().await;
    let access = match answer.error() {
        (401, "unauthorized") => SignIn,
        (403, "forbidden") => Forbidden,
        (403, "insufficient_scope") => Scope,
        (404, "not_found") => NotFound,
        (401 | 403 | 404, code) => panic!("{} as {caller:?}: {code}", operation.id),
        _ => Allowed,
    };
    (access, format!("{answer:?}"))
}

#[tokio::test]
async fn access_to_every_route_is_as_the_table_says() {
    for operation in operations() {
        let row = expected(&operation.id).unwrap_or_else(|| panic!("the table has no row for {}", operation.id));
        // A refused request changes nothing, so the next one meets the same service.
        let mut fixture = Fixture::new(&operation).await;
        for (caller, expected) in Caller::ALL.into_iter().zip(row) {
            let (found, answer) = found(&operation, caller, &fixture).await;
            assert_eq!(found, expected, "{} as {caller:?}: {answer}", operation.id);
            if found == Allowed {
                fixture = Fixture::new(&operation).await;
            }
        }
    }
}

/// An extractor that is forgotten in a handler would leave the route open.
#[test]
fn access_of_routes_below_admin_is_for_administrators_only() {
    let below: Vec<_> = operations().into_iter().filter(Operation::is_for_admins).collect();
    assert!(!below.is_empty());
    for operation in below {
        assert_eq!(expected(&operation.id), Some(ADMINISTRATORS), "{}", operation.id);
    }
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let tagged = paths.values().flat_map(|item| item.as_object().unwrap().values());
    for operation in tagged.filter(|operation| operation["tags"][0] == "Administration") {
        let id = operation["operationId"].as_str().unwrap();
        assert_eq!(expected(id), Some(ADMINISTRATORS), "{id}");
    }
}

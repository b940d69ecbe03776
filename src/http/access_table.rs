//! Who may call what: every route of the router with every kind of caller. A new route needs a row here; a new kind of
//! caller is a new column.

use dockhost_domain::backend::RevokeKey;

use super::testing::{DOCUMENT, TestApp};
use super::tests::{Fixture, Operation, operations};

/// What a caller is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The request is carried out, or refused for another reason than its caller: anything but 401 and 403.
    Allowed,
    /// 401: the caller must sign in, as another kind of principal if they are signed in.
    SignIn,
    /// 403 `forbidden`: signed in, but without the right.
    Forbidden,
}

use Access::{Allowed, Forbidden, SignIn};

type Row = [Access; Caller::ALL.len()];

/// Everybody, signed in or not.
const ANYONE: Row = [Allowed; Caller::ALL.len()];
const USERS: Row = [SignIn, SignIn, SignIn, SignIn, SignIn, SignIn, Allowed, Allowed];
const BACKENDS: Row = [SignIn, SignIn, SignIn, Allowed, Allowed, SignIn, SignIn, SignIn];
const ADMINISTRATORS: Row = [SignIn, SignIn, SignIn, SignIn, SignIn, SignIn, Forbidden, Allowed];

/// A kind of caller: a column of the table.
#[derive(Debug, Clone, Copy)]
enum Caller {
    Nobody,
    /// A user whose session has ended.
    SignedOut,
    /// A user whose account is disabled, and who was an administrator.
    Disabled,
    Backend,
    /// A backend that awaits approval.
    PendingBackend,
    /// A backend whose API key is revoked.
    RevokedBackend,
    User,
    Admin,
}

impl Caller {
    const ALL: [Self; 8] = [
        Self::Nobody,
        Self::SignedOut,
        Self::Disabled,
        Self::Backend,
        Self::PendingBackend,
        Self::RevokedBackend,
        Self::User,
        Self::Admin,
    ];
}

/// The rows: an operation, and what the callers are answered, in the order of [`Caller::ALL`].
fn expected(operation: &str) -> Option<Row> {
    Some(match operation {
        "signUp" | "signIn" | "resetPassword" | "signUpBackend" | "signInBackend" | "health" | "home" => ANYONE,
        "signOut" | "createInstance" | "deleteInstance" | "listInstances" | "stopInstance" | "resumeInstance"
        | "getInstance" | "getOperation" | "getMe" | "updateProfile" | "changePassword" | "deleteAccount"
        | "listSessions" | "endSession" | "endOtherSessions" => USERS,
        "getBackend" => BACKENDS,
        "listUsers"
        | "getUser"
        | "changeRole"
        | "disableUser"
        | "enableUser"
        | "endUserSessions"
        | "issuePasswordReset"
        | "listBackends"
        | "getAnyBackend"
        | "listAllInstances"
        | "approveBackend"
        | "setBackendCapacity"
        | "cordonBackend"
        | "uncordonBackend"
        | "revokeBackendKey"
        | "issueBackendKey"
        | "removeBackend"
        | "drainBackend"
        | "undrainBackend"
        | "getDrain"
        | "listEnrolmentTokens"
        | "createEnrolmentToken"
        | "revokeEnrolmentToken" => ADMINISTRATORS,
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
        // The other user's account is what these are about.
        Caller::User if operation.is_for_admins() => Some(app.user("carol").await.token),
        Caller::User => Some(fixture.other.token.clone()),
        Caller::Admin => {
            app.make_admin(fixture.user.id).await;
            Some(fixture.user.token.clone())
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
        (401 | 403, code) => panic!("{} as {caller:?}: {code}", operation.id),
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

//! Who may call what: every route of the router with every kind of caller. A new route needs a row here; a new kind of
//! caller is a new column.

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

/// Everybody, signed in or not.
const ANYONE: [Access; Caller::ALL.len()] = [Allowed, Allowed, Allowed, Allowed, Allowed, Allowed];
const USERS: [Access; Caller::ALL.len()] = [SignIn, SignIn, Allowed, Allowed, SignIn, SignIn];
const BACKENDS: [Access; Caller::ALL.len()] = [SignIn, Allowed, SignIn, SignIn, SignIn, SignIn];
const ADMINISTRATORS: [Access; Caller::ALL.len()] = [SignIn, SignIn, Forbidden, Allowed, SignIn, SignIn];

/// A kind of caller: a column of the table.
#[derive(Debug, Clone, Copy)]
enum Caller {
    Nobody,
    Backend,
    User,
    Admin,
    /// A user whose session has ended.
    SignedOut,
    /// A user whose account is disabled, and who was an administrator.
    Disabled,
}

impl Caller {
    const ALL: [Self; 6] = [Self::Nobody, Self::Backend, Self::User, Self::Admin, Self::SignedOut, Self::Disabled];
}

/// The rows: an operation, and what the callers are answered, in the order of [`Caller::ALL`].
fn expected(operation: &str) -> Option<[Access; Caller::ALL.len()]> {
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

/// What a caller is answered on a service of its own.
async fn found(operation: &Operation, caller: Caller) -> (Access, String) {
    let fixture = Fixture::new(operation).await;
    let app: &TestApp = &fixture.app;
    let token = match caller {
        Caller::Nobody => None,
        Caller::Backend => Some(fixture.backend.token.clone()),
        // The other user's account is what these are about.
        Caller::User if operation.is_for_admins() => Some(app.user("carol").await.token),
        Caller::User => Some(fixture.other.token.clone()),
        Caller::Admin => {
            app.make_admin(fixture.user.id).await;
            Some(fixture.user.token.clone())
        }
        Caller::SignedOut => {
            let user = app.admin("eve").await;
            assert_eq!(
                app.post("/api/v2/user/signout", serde_json::json!({})).token(&user.token).send().await.status,
                200
            );
            Some(user.token)
        }
        Caller::Disabled => {
            app.make_admin(fixture.user.id).await;
            let user = app.admin("eve").await;
            app.disable(user.id).await;
            Some(user.token)
        }
    };
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
        for (caller, expected) in Caller::ALL.into_iter().zip(row) {
            let (found, answer) = found(&operation, caller).await;
            assert_eq!(found, expected, "{} as {caller:?}: {answer}", operation.id);
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

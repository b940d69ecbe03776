//! `POST /api/v2/user/signup`: creates an account and signs it in.
//!
//! Both claims (username, email), the account and its first session are one atomic batch: of any number of concurrent
//! sign-ups with one name, on any replicas, exactly one succeeds. With an `Idempotency-Key` the user id is derived from
//! the request, so that a repeated sign-up finds its own claim. An invitation is used up, and its quota set, in the same batch.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{Account, CreateAccount, Created, Role};
use dockhost_domain::claim::TakeClaim;
use dockhost_domain::enrolment::TokenHash;
use dockhost_domain::envelope::Actor;
use dockhost_domain::group::Groups;
use dockhost_domain::ids::{GroupId, UserId};
use dockhost_domain::invitation::{Invitations, UseInvitation};
use dockhost_domain::names::Username;
use dockhost_domain::quota::Quota;
use dockhost_domain::session::StartSession;
use dockhost_domain::subject::{AllGroups, AllInvitations, ClaimId, ClaimKind};
use dockhost_domain::tenancy::SetQuota;
use dockhost_projections::users::Users;
use secrecy::SecretString;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::session_tokens::{RefreshBy, SessionTokens};
use super::sessions::{NewSession, SignedIn, claim_owner, not_reserved, not_weak, password_length};
use crate::auth::admission::SignUpRefused;
use crate::auth::{one_time_token, ssh_key};
use crate::common::clock;
use crate::execute::Batch;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, ClientAddress, Device, IdempotencyKey};
use crate::http::response::documented::{BODY, COMMAND, error_responses};
use crate::http::response::error::{from_execute, impossible};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::User;

/// A new account.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "username": "ada",
    "email": "ada@example.org",
    "password": "correct horse",
    "sshPublicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
})))]
pub struct SignUpRequest {
    /// Unique; some names, such as `admin`, are reserved.
    #[garde(custom(not_reserved))]
    #[schema(value_type = String, min_length = 3, max_length = 32, pattern = "^[a-z][a-z0-9-]*$")]
    username: Username,
    /// Unique, regardless of case.
    #[serde(deserialize_with = "trimmed")]
    #[garde(email, length(bytes, max = 254))]
    #[schema(format = "email", max_length = 254)]
    email: String,
    #[garde(custom(password_length))]
    #[schema(
        value_type = String,
        format = Password,
        min_length = 8,
        max_length = 128,
        pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    )]
    password: SecretString,
    /// For instances that are created without one. One line as in a `.pub` file: Ed25519, ECDSA, or RSA of at least
    /// 2048 bits; no options.
    #[serde(default, deserialize_with = "ssh_public_key")]
    #[garde(skip)]
    ssh_public_key: Option<String>,
    /// The token of an invitation, which an administrator created.
    #[garde(length(chars, max = 256))]
    #[schema(max_length = 256)]
    invitation: Option<String>,
    /// One of the server's invitation codes, if it requires one and there is no invitation.
    #[garde(length(chars, max = 256))]
    #[schema(max_length = 256)]
    invite_code: Option<String>,
    // Described by its type: a description here would become a schema of its own.
    #[garde(skip)]
    #[schema(inline)]
    refresh: Option<RefreshBy>,
}

fn trimmed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(String::deserialize(deserializer)?.trim().to_owned())
}

pub fn ssh_public_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let key = Option::<String>::deserialize(deserializer)?;
    key.map(|key| ssh_key::normalise(&key)).transpose().map_err(Error::custom)
}

error_responses!(
    SignUpErrors: BODY, COMMAND,
    &[
        Code::InvalidHeader, Code::WeakPassword, Code::SignupClosed, Code::InvitationRequired,
        Code::InvalidInvitation, Code::UsernameTaken, Code::EmailTaken, Code::AccountDisabled,
    ]
);

fn not_admitted(refused: SignUpRefused) -> ApiError {
    match refused {
        SignUpRefused::Closed => ApiError::new(Code::SignupClosed, "nobody may sign up here; ask the operator"),
        SignUpRefused::NotInvited => {
            ApiError::new(Code::InvitationRequired, "give an invitation of an administrator, or a valid inviteCode")
        }
    }
}

/// An invitation that can be used, or that this user has used.
struct Invited {
    hash: TokenHash,
    quota: Quota,
    group_id: Option<GroupId>,
}

fn invalid_invitation() -> ApiError {
    ApiError::new(Code::InvalidInvitation, "the invitation is not valid, was used or revoked, or has expired")
}

/// The invitation that a sign-up gives. A wrong one is an error also where none is needed, because its quota would be missed.
/// Only a check in advance: the invitation is used together with the sign-up.
async fn find_invitation(app: &App, given: Option<&str>, user_id: UserId) -> Result<Option<Invited>, ApiError> {
    let Some(given) = given else { return Ok(None) };
    let hash = one_time_token::hash(given);
    let all = app.executor.confirmed::<Invitations>(AllInvitations).await?;
    let now = clock::now();
    let (_, found) = all
        .state
        .find(&hash)
        .filter(|(_, invitation)| invitation.is_valid(now) || invitation.was_used_by(user_id))
        .ok_or_else(invalid_invitation)?;
    let groups = app.executor.state::<Groups>(AllGroups).await?;
    let group_id = found.details.group_id.filter(|id| groups.state.get(*id).is_some());
    Ok(Some(Invited { hash, quota: found.details.quota(), group_id }))
}

fn username_taken() -> ApiError {
    ApiError::new(Code::UsernameTaken, "this username is taken")
}

pub fn email_taken() -> ApiError {
    ApiError::new(Code::EmailTaken, "this email address is taken")
}

/// The new user's id: random, or derived from the request if it may be repeated. An erased user who signs up with the
/// same data again gets another id.
async fn new_user_id(app: &App, key: &IdempotencyKey, username: &Username, email: &str) -> Result<UserId, ApiError> {
    let Some(key) = &key.0 else { return Ok(UserId::from_uuid(clock::fresh_uuid())) };
    let mut id = app.keyring.derived_id([key, username.as_str(), email]);
    while app.executor.confirmed::<Account>(UserId::from_uuid(id)).await?.state.erased {
        id = app.keyring.derived_id([&id.to_string(), username.as_str(), email]);
    }
    Ok(UserId::from_uuid(id))
}

/// Sign up
///
/// Creates an account and signs it in. With an `Idempotency-Key`, a repeated sign-up with the same username, email and
/// password is answered like the first.
#[utoipa::path(
    post,
    path = "/api/v2/user/signup",
    operation_id = "signUp",
    tag = "Users",
    params(IdempotencyKey),
    request_body = SignUpRequest,
    responses(
        (status = 201, description = "The account was created and is signed in.", body = Success<SignedIn>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the sign-up in the log."),
            ("Set-Cookie" = String, description = "The session, as `accessToken`; with `\"refresh\": \"cookie\"` also `refreshToken`."),
        )),
        SignUpErrors,
    ),
)]
pub async fn post(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    device: Device,
    key: IdempotencyKey,
    Body(request): Body<SignUpRequest>,
) -> Result<Reply<SignedIn>, ApiError> {
    let SignUpRequest { username, email, password, ssh_public_key, invitation, invite_code, refresh } = request;
    RefreshBy::check(refresh, &app)?;
    app.settings.sign_up.admit(invite_code.as_deref(), invitation.is_some()).map_err(not_admitted)?;
    not_weak(&password, [username.as_str(), &email])?;
    let user_id = new_user_id(&app, &key, &username, &email).await?;
    let invited = find_invitation(&app, invitation.as_deref(), user_id).await?;
    let by_name = app.keyring.claim(ClaimKind::Username, username.as_str());
    let by_email = app.keyring.claim(ClaimKind::Email, &email);
    // The batch decides; this check only avoids hashing a password in vain.
    match claim_owner(&app, by_name).await? {
        Some(owner) if owner == user_id.into() => {
            let session = NewSession::of_user(&app, user_id, device.at(client), refresh);
            return sign_in_again(&app, user_id, password, client, &session, refresh).await;
        }
        Some(_) => return Err(username_taken()),
        None => {}
    }
    if claim_owner(&app, by_email).await?.is_some() {
        return Err(email_taken());
    }
    let password_verifier = app.hash_password(client, password).await?;
    let details = Created {
        username: username.into(),
        email: email.into(),
        password_verifier: password_verifier.into(),
        ssh_public_key: ssh_public_key.map(Into::into),
        role: Role::User,
        group_id: invited.as_ref().and_then(|invited| invited.group_id),
    };
    let session = NewSession::of_user(&app, user_id, device.at(client), refresh);
    let claims: [(ClaimId, fn() -> ApiError); 2] = [(by_name, username_taken), (by_email, email_taken)];
    let origin = app.origin(Actor::Anonymous);
    let decide = |batch| decide(batch, user_id, claims, &details, &session, invited.as_ref());
    let sequence = app.executor.execute_batch(&origin, decide).await?;
    app.wait_until_projected::<Users>(sequence).await;
    reply(&app, user_id, &session, refresh, sequence).await
}

/// This request succeeded before: the right password gets the same answer, with a new session.
async fn sign_in_again(
    app: &App,
    user_id: UserId,
    password: SecretString,
    client: ClientAddress,
    session: &NewSession,
    refresh: Option<RefreshBy>,
) -> Result<Reply<SignedIn>, ApiError> {
    let account = app.executor.confirmed::<Account>(user_id).await?;
    let profile = account.state.profile.as_ref();
    let verifier = profile.and_then(|profile| profile.details.password_verifier.plain().cloned());
    if !app.verify_password(client, password, verifier).await? {
        return Err(username_taken());
    }
    let sequence = session.store(app, app.origin(Actor::User(user_id))).await?;
    reply(app, user_id, session, refresh, sequence).await
}

async fn reply(
    app: &App,
    user_id: UserId,
    session: &NewSession,
    refresh: Option<RefreshBy>,
    sequence: u64,
) -> Result<Reply<SignedIn>, ApiError> {
    let account = app.executor.state::<Account>(user_id).await?;
    let profile = account.state.profile.as_ref().ok_or_else(|| ApiError::bug("no profile after a sign-up"))?;
    let (tokens, cookies) = SessionTokens::of_new(app, session, refresh)?;
    let data = SignedIn { user: User::new(user_id, profile), tokens };
    Ok(Reply::created("signed up and signed in", data).cookies(cookies).position(app.position(sequence)))
}

/// Both claims, the account and its first session, and the use of its invitation.
async fn decide(
    mut batch: Batch,
    user_id: UserId,
    claims: [(ClaimId, fn() -> ApiError); 2],
    details: &Created,
    session: &NewSession,
    invited: Option<&Invited>,
) -> Result<Batch, ApiError> {
    let owner = user_id.into();
    for (claim, taken) in claims {
        batch.decide(claim, &TakeClaim { owner }).await.map_err(|error| from_execute(error, |_| taken()))?;
    }
    let account = CreateAccount(details.clone());
    // The same sign-up runs at the same time: a repetition will find it done.
    let concurrent = |_| ApiError::new(Code::Busy, "this sign-up is being processed; send it again");
    batch.decide(user_id, &account).await.map_err(|error| from_execute(error, concurrent))?;
    if let Some(Invited { hash, quota, .. }) = invited {
        let use_it = UseInvitation { hash: hash.clone(), user_id, now: clock::now() };
        let refused = |error| from_execute(error, |_| invalid_invitation());
        batch.decide(AllInvitations, &use_it).await.map_err(refused)?;
        if *quota != Quota::default() {
            batch.decide(user_id, &SetQuota(*quota)).await.map_err(|error| from_execute(error, impossible))?;
        }
    }
    let start = StartSession(session.started.clone());
    batch.decide(owner, &start).await.map_err(|error| from_execute(error, impossible))?;
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use dockhost_domain::ids::UserId;
    use futures::future::join_all;
    use serde_json::{Value, json};

    use crate::auth::admission::SignUp;
    use crate::http::testing::{Caller, PASSWORD, SSH_KEY, TestApp};

    const PATH: &str = "/api/v2/user/signup";

    fn body(username: &str, email: &str) -> Value {
        json!({ "username": username, "email": email, "password": PASSWORD, "sshPublicKey": SSH_KEY })
    }

    #[tokio::test]
    async fn sign_up_creates_and_signs_in() {
        let app = TestApp::new().await;
        let answer = app.post(PATH, body("ada", " Ada@example.org ")).send().await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let user = &answer.data()["user"];
        let (id, created_at) = (user["id"].clone(), user["createdAt"].clone());
        let token = answer.data()["accessToken"].as_str().unwrap();
        let expected = json!({
            "success": true,
            "message": "signed up and signed in",
            "data": {
                "user": {
                    "id": id, "username": "ada", "email": "Ada@example.org", "role": "user", "createdAt": created_at,
                },
                "accessToken": token,
            },
        });
        assert_eq!(answer.body, expected);
        assert_eq!(answer.cookie("accessToken").unwrap(), token);
        let cookie = answer.header("set-cookie").unwrap();
        for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=86400"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        // The claims, the account and the session.
        assert_eq!(answer.header("dockhost-position").unwrap(), app.app.position(4));
        assert_eq!(app.get("/api/v2/user/instance").token(token).send().await.status, 200);
    }

    #[tokio::test]
    async fn sign_up_with_a_weak_password_or_a_reserved_name_is_refused() {
        let app = TestApp::new().await;
        for (password, reason) in [
            ("password", "is one of the most common passwords"),
            ("ada-lovelace", "is the name or the address of the account"),
            ("countess", "is the name or the address of the account"),
        ] {
            let body = json!({ "username": "ada-lovelace", "email": "countess@example.org", "password": password });
            let answer = app.post(PATH, body).send().await;
            assert_eq!(answer.error(), (422, "weak_password"), "{password}: {answer:?}");
            assert_eq!(answer.details(), &json!([{ "field": "password", "problem": reason }]));
        }
        for name in ["root", "admin"] {
            let answer = app.post(PATH, body(name, "ada@example.org")).send().await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{name}");
            assert_eq!(answer.details(), &json!([{ "field": "username", "problem": "is reserved" }]));
        }
        assert!(app.log.events().is_empty());
    }

    #[tokio::test]
    async fn sign_up_by_invitation_needs_a_code() {
        let codes = SignUp::Invite(vec!["biology-7b".parse().unwrap()]);
        let app = TestApp::with(|settings| settings.sign_up = codes).await;
        let sign_up = async |code: Value| {
            let mut body = body("ada", "ada@example.org");
            body["inviteCode"] = code;
            app.post(PATH, body).send().await
        };
        for code in [json!(null), json!(""), json!("biology-7a")] {
            assert_eq!(sign_up(code.clone()).await.error(), (403, "invitation_required"), "{code}");
        }
        assert_eq!(sign_up(json!("Biology-7b")).await.status, 201);
    }

    /// The token of an invitation.
    async fn invitation(app: &TestApp, boss: &Caller<UserId>, body: Value) -> String {
        let created = app.post("/api/v2/admin/invitations", body).token(&boss.token).send().await;
        created.data()["token"].as_str().unwrap_or_else(|| panic!("{created:?}")).to_owned()
    }

    fn invited(name: &str, invitation: &str) -> Value {
        let mut body = body(name, &format!("{name}@example.org"));
        body["invitation"] = json!(invitation);
        body
    }

    #[tokio::test]
    async fn sign_up_with_an_invitation_works_once_and_sets_the_quota() {
        for mode in [SignUp::Open, SignUp::Invite(Vec::new())] {
            let app = TestApp::with(|settings| {
                settings.sign_up = mode.clone();
                settings.quota = Some(5);
            })
            .await;
            let boss = app.admin("boss").await;
            let terms = json!({ "maxInstances": 2, "maxCpu": 1.5, "maxMemoryMib": 4096 });
            for (name, terms, quota) in [
                ("ada", terms, [json!(2), json!(1.5), json!(4096)]),
                ("bob", json!({ "maxMemoryMib": 512 }), [json!(5), Value::Null, json!(512)]),
                ("eve", json!({}), [json!(5), Value::Null, Value::Null]),
            ] {
                let token = invitation(&app, &boss, terms).await;
                let answer = app.post(PATH, invited(name, &token)).send().await;
                assert_eq!(answer.status, 201, "{answer:?}");
                let me = app.get("/api/v2/user/me").token(answer.data()["accessToken"].as_str().unwrap()).send().await;
                assert_eq!(["maxInstances", "maxCpu", "maxMemoryMib"].map(|limit| me.data()[limit].clone()), quota);
                let second = app.post(PATH, invited("mallory", &token)).send().await;
                assert_eq!(second.error(), (403, "invalid_invitation"), "an invitation is for one person");
            }
            assert_eq!(
                app.post(PATH, invited("mallory", "dhi_wrong")).send().await.error(),
                (403, "invalid_invitation")
            );
        }
    }

    #[tokio::test]
    async fn sign_up_of_several_at_once_with_one_invitation_creates_one_account() {
        let app = TestApp::with(|settings| settings.sign_up = SignUp::Invite(Vec::new())).await;
        let boss = app.admin("boss").await;
        let token = invitation(&app, &boss, json!({})).await;
        let names: Vec<String> = (1..=4).map(|n| format!("user-{n}")).collect();
        let answers = join_all(names.iter().map(|name| app.post(PATH, invited(name, &token)).send())).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 403, 403, 403], "{answers:?}");
    }

    #[tokio::test]
    async fn sign_up_with_an_invitation_repeated_with_its_key_is_answered_like_the_first() {
        let app = TestApp::with(|settings| settings.sign_up = SignUp::Invite(Vec::new())).await;
        let boss = app.admin("boss").await;
        let token = invitation(&app, &boss, json!({})).await;
        let send = || app.post(PATH, invited("ada", &token)).header("idempotency-key", "k-1").send();
        let (first, second) = (send().await, send().await);
        assert_eq!((first.status, second.status), (201, 201), "{second:?}");
        assert_eq!(first.data()["user"], second.data()["user"]);
    }

    #[tokio::test]
    async fn sign_up_that_fails_leaves_its_invitation_valid() {
        let app = TestApp::with(|settings| settings.sign_up = SignUp::Invite(Vec::new())).await;
        let boss = app.admin("boss").await;
        let first = invitation(&app, &boss, json!({})).await;
        assert_eq!(app.post(PATH, invited("ada", &first)).send().await.status, 201);
        let second = invitation(&app, &boss, json!({})).await;
        assert_eq!(app.post(PATH, invited("ada", &second)).send().await.error(), (409, "username_taken"));
        assert_eq!(app.post(PATH, invited("eve", &second)).send().await.status, 201);
    }

    #[tokio::test]
    async fn sign_up_while_closed_is_refused() {
        let app = TestApp::with(|settings| settings.sign_up = SignUp::Closed).await;
        assert_eq!(app.post(PATH, body("ada", "ada@example.org")).send().await.error(), (403, "signup_closed"));
    }

    #[tokio::test]
    async fn sign_up_with_a_taken_name_is_refused() {
        let app = TestApp::new().await;
        app.signed_up_user("ada").await;
        for (username, email, code) in [
            ("ada", "eve@example.org", "username_taken"),
            ("ada", "ada@example.org", "username_taken"),
            ("eve", "ada@example.org", "email_taken"),
            ("eve", "ADA@Example.org", "email_taken"),
        ] {
            assert_eq!(app.post(PATH, body(username, email)).send().await.error(), (409, code), "{username} {email}");
        }
    }

    #[tokio::test]
    async fn sign_up_repeated_with_its_key_is_answered_like_the_first() {
        let app = TestApp::new().await;
        let send = |body| app.post(PATH, body).header("idempotency-key", "k-1").send();
        let first = send(body("ada", "ada@example.org")).await;
        let second = send(body("ada", "ada@example.org")).await;
        assert_eq!((first.status, second.status), (201, 201));
        assert_eq!(first.data()["user"], second.data()["user"]);
        assert_ne!(first.data()["accessToken"], second.data()["accessToken"]);

        let mut other_password = body("ada", "ada@example.org");
        other_password["password"] = json!("another password");
        assert_eq!(send(other_password).await.error(), (409, "username_taken"));
        assert_eq!(send(body("ada", "eve@example.org")).await.error(), (409, "username_taken"));
    }

    #[tokio::test]
    async fn sign_up_with_a_malformed_key_is_refused() {
        let app = TestApp::new().await;
        for key in ["", &"k".repeat(256), "kéy"] {
            let answer = app.post(PATH, body("ada", "ada@example.org")).header("idempotency-key", key).send().await;
            assert_eq!(answer.error(), (400, "invalid_header"), "{key}");
        }
        assert!(app.log.events().is_empty());
    }

    #[tokio::test]
    async fn sign_up_with_a_bad_email_or_key_names_the_field() {
        let app = TestApp::new().await;
        for email in ["", "ada", "@", "a@", "@b", "a@b@c.org", "a b@c.org", "a@b.org\r\nBcc: all@b.org"] {
            let answer = app.post(PATH, body("ada", email)).send().await;
            assert_eq!(answer.details()[0]["field"], "email", "{email}: {answer:?}");
        }
        let mut bad_key = body("ada", "ada@example.org");
        bad_key["sshPublicKey"] = json!(format!("command=\"id\" {SSH_KEY}"));
        let answer = app.post(PATH, bad_key).send().await;
        assert_eq!(answer.details()[0]["field"], "sshPublicKey", "{answer:?}");
        assert!(app.log.events().is_empty());
    }
}

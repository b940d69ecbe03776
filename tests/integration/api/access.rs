//! Access control: every route of the API's document, with every kind of token that must not open it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockhost::auth::token::{Audience, Tokens};
use dockhost::common::clock;
use dockhost::http::{dockhost_v2, openapi};
use dockhost_domain::timestamp::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::http::{Answer, Client};

const FRONTEND: &str = "https://app.example.org";
const OTHER_SECRET: &str = "another secret that is long enough";

/// The routes that anyone may call. A new one is either added here or has `security` in its document.
const PUBLIC: [&str; 10] = [
    "GET /",
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "POST /api/v2/user/signup",
    "POST /api/v2/user/signin",
    "POST /api/v2/user/refresh",
    "POST /api/v2/user/password/reset",
    "POST /api/v2/backend/signup",
    "POST /api/v2/backend/signin",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Public,
    User,
    Backend,
}

#[derive(Debug, Clone)]
struct Route {
    method: Method,
    path: String,
    access: Access,
    /// A valid body, from the document; null without a body.
    example: Value,
}

/// Every route, with who may call it by the document's `security`.
fn routes() -> Vec<Route> {
    let document: Value = serde_json::from_str(&openapi::json().unwrap()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schemes: Vec<&str> = operation["security"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|requirement| requirement.as_object().unwrap().keys())
                .map(String::as_str)
                .collect();
            let access = match schemes[..] {
                [] => Access::Public,
                ["userToken", "userCookie"] => Access::User,
                ["backendToken", "backendCookie"] => Access::Backend,
                _ => panic!("{method} {path} has unknown security: {schemes:?}"),
            };
            let schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
            let example = schema.map(|reference| document.pointer(&reference[1..]).unwrap()["examples"][0].clone());
            let (method, path) = (method.to_uppercase().parse().unwrap(), path.clone());
            routes.push(Route { method, path, access, example: example.unwrap_or_default() });
        }
    }
    for (path, own) in dockhost_v2::PATHS {
        let here: Vec<_> = routes.iter().filter(|route| route.path == own).cloned().collect();
        routes.extend(here.into_iter().map(|route| Route { path: path.to_owned(), ..route }));
    }
    let public = routes.iter().filter(|route| route.access == Access::Public);
    let public: BTreeSet<String> = public.map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(public, PUBLIC.map(str::to_owned).into(), "routes without `security`");
    routes
}

const fn cookie_of(access: Access) -> &'static str {
    match access {
        Access::Backend => "accessTokenBE",
        Access::Public | Access::User => "accessToken",
    }
}

/// The route's path for this instance, and for this operation or anything else.
fn path_of(route: &Route, instance: &str, other: &str) -> String {
    let path = [
        "{id}",
        "{sessionId}",
        "{userId}",
        "{backendId}",
        "{tokenId}",
        "{invitationId}",
        "{keyId}",
        "{groupId}",
        "{subject}",
        "{webhookId}",
    ]
    .into_iter()
    .fold(route.path.replace("{instanceId}", instance), |path, placeholder| path.replace(placeholder, other));
    assert!(!path.contains('{'), "this test has no value for a placeholder of {}", route.path);
    path
}

/// Calls a route with a valid body.
async fn call(client: &Client, route: &Route, path: &str, headers: &[(&str, &str)], instance: &str) -> Answer {
    let mut headers = headers.to_vec();
    headers.push(("x-request-id", "the-same"));
    headers.push(("prefer", "wait=5"));
    match route.method {
        Method::GET => client.send(Method::GET, path, &headers, None).await,
        Method::POST => client.json(Method::POST, path, &headers, json!({})).await,
        _ => {
            let mut body = route.example.clone();
            // In others, the path names the instance.
            if !route.path.contains("/user/instance/{instanceId}") {
                body["instanceId"] = json!(instance);
            }
            client.json(route.method.clone(), path, &headers, body).await
        }
    }
}

/// Invalid tokens, made from a valid one.
fn forged(audience: Audience, good: &str, secret: &str) -> Vec<(&'static str, String)> {
    dockhost::common::install_crypto();
    let own = Tokens::new(audience, &secret.to_owned().into());
    let bearer = own.read(good, clock::now()).unwrap();
    let long_ago = Timestamp::from_millis(1_000_000);
    let tomorrow = clock::now().after(std::time::Duration::from_secs(86_400));
    let other = Tokens::new(audience, &OTHER_SECRET.to_owned().into());
    let agents = Tokens::new(Audience::Agent, &secret.to_owned().into());
    let mut parts = good.split('.');
    let (_, payload, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    claims["sub"] = json!(clock::fresh_uuid());
    let changed = URL_SAFE_NO_PAD.encode(claims.to_string());
    let header = good.split('.').next().unwrap();
    vec![
        ("expired", own.issue(bearer, long_ago, long_ago).unwrap()),
        ("signed with another secret", other.issue(bearer, clock::now(), tomorrow).unwrap()),
        ("made for agents", agents.issue(bearer, clock::now(), tomorrow).unwrap()),
        ("without a signature", format!("{none}.{payload}.")),
        ("of another algorithm, signed", format!("{none}.{payload}.{signature}")),
        ("of another subject", format!("{header}.{changed}.{signature}")),
        ("cut", good[..good.len() - 1].to_owned()),
        ("garbage", "garbage".to_owned()),
        ("empty", String::new()),
    ]
}

fn secret(world: &World, name: &str) -> String {
    world.nats.secrets.server_env().into_iter().find(|(known, _)| *known == name).unwrap().1
}

/// Signs in and returns the session's token.
async fn session(client: &Client, kind: &str, cookie: &str, body: &Value) -> String {
    let answer = client.post(&format!("/api/v2/{kind}/signin"), body.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.data()["accessToken"].as_str().unwrap();
    assert_eq!(answer.cookie(&format!("__Host-{cookie}")).as_deref(), Some(token), "the frontend has https");
    token.to_owned()
}

#[tokio::test]
async fn api_secured_routes_refuse_every_other_token() {
    let mut world = World::with(1, &[("FRONTEND_URL", FRONTEND)]).await;
    world.register("alpha", 5).await;
    let open = world.client(0);
    let ada = json!({ "username": "ada", "password": "correct horse" });
    let alpha = json!({ "username": "alpha", "password": "a long password" });
    world.user("ada").await;
    let users = session(&open, "user", "accessToken", &ada).await;
    let backends = session(&open, "backend", "accessTokenBE", &alpha).await;
    let revoked = session(&open, "user", "accessToken", &ada).await;
    let out = open.with_token(&revoked).post("/api/v2/user/signout", json!({})).await;
    assert_eq!(out.status, 200, "{out:?}");

    let mut refused_of_users = forged(Audience::User, &users, &secret(&world, "USER_ACCESS_TOKEN_SECRET"));
    refused_of_users.push(("a backend's", backends.clone()));
    refused_of_users.push(("an agent's key", world.agents[0].key.clone()));
    refused_of_users.push(("revoked", revoked));
    let mut refused_of_backends = forged(Audience::Backend, &backends, &secret(&world, "BACKEND_ACCESS_TOKEN_SECRET"));
    refused_of_backends.push(("a user's", users.clone()));

    let some = clock::fresh_uuid().to_string();
    let mut secured = 0;
    for route in routes() {
        let path = path_of(&route, &some, &some);
        let what = format!("{} {path}", route.method);
        let refused = match route.access {
            Access::Public => {
                // A public route ignores tokens.
                let answer = call(&open.with_token("garbage"), &route, &path, &[], &some).await;
                assert_ne!((answer.status, answer.code()), (401, "unauthorized"), "{what}: {answer:?}");
                continue;
            }
            Access::User => &refused_of_users,
            Access::Backend => &refused_of_backends,
        };
        secured += 1;
        let without = call(&open, &route, &path, &[], &some).await;
        assert_eq!((without.status, without.code()), (401, "unauthorized"), "{what}: {without:?}");
        for (kind, token) in refused {
            let cookie = format!("{}={token}", cookie_of(route.access));
            let bearer = format!("Bearer {token}");
            for header in [("authorization", bearer.as_str()), ("cookie", cookie.as_str())] {
                let answer = call(&open, &route, &path, &[header], &some).await;
                assert_eq!(answer.status, 401, "{what} by {} accepts a token that is {kind}: {answer:?}", header.0);
                assert_eq!(answer.body, without.body, "{what}: the answer reveals the reason");
            }
        }
        // A valid token is accepted, by header and by cookie; otherwise the refusals would prove nothing.
        for by_cookie in [false, true] {
            let (kind, body) = if route.access == Access::User { ("user", &ada) } else { ("backend", &alpha) };
            let token = session(&open, kind, cookie_of(route.access), body).await;
            let cookie = format!("theme=dark; {}={token}", cookie_of(route.access));
            let bearer = format!("bearer {token}");
            let header = if by_cookie { ("cookie", cookie.as_str()) } else { ("authorization", bearer.as_str()) };
            let answer = call(&open, &route, &path, &[header], &some).await;
            assert_ne!(answer.status, 401, "{what} by {}: {answer:?}", header.0);
        }
        // The API key of a backend's agent is a bearer token of the backend, and no cookie.
        let key = &world.agents[0].key;
        let answer = call(&open, &route, &path, &[("authorization", &format!("Bearer {key}"))], &some).await;
        assert_eq!(answer.status == 401, route.access != Access::Backend, "{what} with an API key: {answer:?}");
        let answer =
            call(&open, &route, &path, &[("cookie", &format!("{}={key}", cookie_of(route.access)))], &some).await;
        assert_eq!(answer.status, 401, "{what} with an API key as a cookie: {answer:?}");
        // The other kind's cookie is ignored, and the header wins over the cookie.
        let good = if route.access == Access::User { &users } else { &backends };
        let other = if route.access == Access::User { Access::Backend } else { Access::User };
        let wrong_cookie = format!("{}={good}", cookie_of(other));
        let answer = call(&open, &route, &path, &[("cookie", &wrong_cookie)], &some).await;
        assert_eq!(answer.status, 401, "{what} accepts the cookie {}: {answer:?}", cookie_of(other));
        let right_cookie = format!("{}={good}", cookie_of(route.access));
        let both = [("authorization", "Bearer garbage"), ("cookie", right_cookie.as_str())];
        let answer = call(&open, &route, &path, &both, &some).await;
        assert_eq!(answer.status, 401, "{what} ignores its header: {answer:?}");
    }
    assert!(secured >= 8, "the document has too few routes");
}

#[tokio::test]
async fn api_another_users_things_are_not_found() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 5).await;
    let (ada, eve) = (world.user("ada").await, world.user("eve").await);
    let asked = ada.json(Method::POST, "/api/v2/user/instance", &[("prefer", "respond-async")], json!({})).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let location = asked.header("location").unwrap().to_owned();
    let operation = location.rsplit('/').next().unwrap();
    let instance = asked.data()["instanceId"].as_str().unwrap().to_owned();
    let name = asked.data()["name"].as_str().unwrap().to_owned();
    let missing = clock::fresh_uuid().to_string();

    let mut tried = 0;
    for route in routes() {
        // The others are about the caller, or for administrators: see `http::access_table`.
        let about_instances = ["/api/v2/user/instance", "/api/v2/instance", "/api/v2/operations/"];
        let is_specific = (route.path.contains('{') || matches!(route.method, Method::PUT | Method::DELETE))
            && about_instances.iter().any(|prefix| route.path.starts_with(prefix));
        if route.access != Access::User || !is_specific {
            continue;
        }
        tried += 1;
        for (theirs, none) in [(instance.as_str(), missing.as_str()), (name.as_str(), "no-such-name")] {
            let no_operation = if theirs == instance { operation } else { theirs };
            let of_another = call(&eve, &route, &path_of(&route, theirs, no_operation), &[], theirs).await;
            let of_none = call(&eve, &route, &path_of(&route, none, none), &[], none).await;
            let what = format!("{} {} of {theirs}", route.method, route.path);
            assert_eq!((of_another.status, of_another.code()), (404, "not_found"), "{what}: {of_another:?}");
            assert_eq!((of_none.status, &of_none.body), (404, &of_another.body), "{what} reveals that it exists");
        }
    }
    assert!(tried >= 5, "the document has too few routes");
    let by_query = eve.send(Method::DELETE, &format!("/api/v2/user/instance?instanceId={instance}"), &[], None).await;
    assert_eq!((by_query.status, by_query.code()), (404, "not_found"), "{by_query:?}");
    assert_eq!(eve.get("/api/v2/user/instance").await.data(), &json!([]), "another user's instance is listed");

    // The instance is unchanged for its owner.
    let seen = ada.get(&format!("/api/v2/user/instance/{instance}")).await;
    assert_eq!((seen.status, &seen.data()["generation"]), (200, &json!(1)), "{seen:?}");
    assert_eq!(ada.get(&location).await.status, 200);
}

#[tokio::test]
async fn api_cors_allows_credentials_for_the_frontend_only() {
    // With a path and the default port, which are not part of the origin.
    let world = World::with(1, &[("FRONTEND_URL", "https://App.example.org:443/start")]).await;
    let client = world.client(0);
    let allowed = "access-control-allow-origin";
    for route in routes() {
        let path = path_of(&route, "some", "some");
        let preflight = async |origin: &str| {
            let method = route.method.as_str();
            let headers = [
                ("origin", origin),
                ("access-control-request-method", method),
                (
                    "access-control-request-headers",
                    "authorization,content-type,idempotency-key,dockhost-position,traceparent,x-request-id",
                ),
            ];
            client.send(Method::OPTIONS, &path, &headers, None).await
        };
        let own = preflight(FRONTEND).await;
        assert_eq!((own.status, own.header(allowed)), (200, Some(FRONTEND)), "{} {path}: {own:?}", route.method);
        assert_eq!(own.header("access-control-allow-credentials"), Some("true"));
        let wanted =
            ["authorization", "idempotency-key", "dockhost-position", "x-request-id", "traceparent", "tracestate"];
        for wanted in wanted.into_iter().chain(["baggage", "last-event-id"]) {
            assert!(own.header("access-control-allow-headers").unwrap().contains(wanted), "{own:?}");
        }
        assert!(own.header("access-control-allow-methods").unwrap().contains(route.method.as_str()), "{own:?}");
        for origin in ["https://evil.example.org", "http://app.example.org", "https://app.example.org.evil.org", "null"]
        {
            let other = preflight(origin).await;
            assert!(other.header(allowed).is_none_or(|origin| origin == FRONTEND), "{origin}: {other:?}");
            let plain = client.send(Method::GET, "/health", &[("origin", origin)], None).await;
            assert!(plain.header(allowed).is_none_or(|origin| origin == FRONTEND), "{origin}: {plain:?}");
        }
    }
    // Without a frontend, no origin is allowed.
    let world = World::with(1, &[("FRONTEND_URL", "")]).await;
    let answer = world.client(0).send(Method::GET, "/", &[("origin", FRONTEND)], None).await;
    assert_eq!((answer.status, answer.header(allowed)), (200, None), "{answer:?}");
}

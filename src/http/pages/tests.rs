use axum::http::{StatusCode, header};
use axum::response::Response;
use dockhost_domain::ids::UserId;
use http_body_util::BodyExt;
use serde_json::json;

use super::page::CONTENT_SECURITY_POLICY;
use crate::auth::admission::SignUp;
use crate::http::app::Cookies;
use crate::http::testing::{Caller, TestApp, TestRequest};

/// The routes for which one must be signed in.
const PAGES: [&str; 4] =
    ["/console", "/console/instances/0190b2c4-5a51-7c3e-9d1e-000000000001", "/console/keys", "/console/account"];
const PARTS: [&str; 7] = [
    "/console/parts/instances",
    "/console/parts/instances/0190b2c4-5a51-7c3e-9d1e-000000000001",
    "/console/parts/instances/0190b2c4-5a51-7c3e-9d1e-000000000001/then?at=log.1",
    "/console/parts/keys",
    "/console/parts/profile",
    "/console/parts/sessions",
    "/console/parts/tokens",
];

/// A page as a browser gets it: status, the headers and the text.
pub struct Shown {
    pub status: StatusCode,
    response: axum::http::response::Parts,
    pub text: String,
}

impl Shown {
    pub fn header(&self, name: &str) -> &str {
        self.response.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub async fn shown(request: TestRequest<'_>) -> Shown {
    let response: Response = request.send_raw().await;
    let (response, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Shown { status: response.status, response, text }
}

pub async fn open(app: &TestApp, user: &Caller<UserId>, path: &str) -> Shown {
    shown(app.get(path).header("cookie", &format!("accessToken={}", user.token))).await
}

#[tokio::test]
async fn status_page_is_for_browsers_only_and_private_for_nobody() {
    let app = TestApp::new().await;
    app.connected_backend("secret-machine", 5).await;
    let user = app.user("ada").await;
    app.running_instance(&user, "web").await;
    let page = shown(app.get("/").header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")).await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert_eq!(page.header("content-security-policy"), CONTENT_SECURITY_POLICY);
    assert_eq!((page.header("cache-control"), page.header("vary")), ("no-store", "accept"));
    assert!(page.text.contains("Everything works"), "{}", page.text);
    for private in ["secret-machine", "ada", "web<"] {
        assert!(!page.text.contains(private), "{private}: {}", page.text);
    }
    let json = app.get("/").header("accept", "application/json").send().await;
    assert_eq!(json.data()["service"], "dockhost");
}

#[tokio::test]
async fn status_page_with_a_part_down_says_which() {
    let app = TestApp::new().await;
    app.store.set_unavailable(true);
    let page = shown(app.get("/").header("accept", "text/html")).await;
    assert!(page.text.contains("Parts are down"), "{}", page.text);
    let (_, database) = page.text.split_once("Database").unwrap();
    assert!(database.contains(r#"<span class="state bad">Down</span>"#), "{database}");
}

#[tokio::test]
async fn pages_without_a_session_lead_to_the_sign_in_and_back() {
    let app = TestApp::new().await;
    for path in PAGES {
        let answer = shown(app.get(path)).await;
        let expected = format!("/console/signin?next={path}");
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, expected.as_str()));
        let form = shown(app.get(&expected)).await;
        assert!(form.text.contains(&format!(r#"data-to="{path}""#)), "{}", form.text);
    }
    for path in PARTS {
        let answer = shown(app.get(path).header("hx-request", "true")).await;
        assert_eq!(
            (answer.status, answer.header("hx-redirect")),
            (StatusCode::UNAUTHORIZED, "/console/signin"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn pages_of_a_session_that_was_signed_out_lead_to_the_sign_in() {
    let app = TestApp::new().await;
    let user = app.user("ada").await;
    assert_eq!(open(&app, &user, "/console").await.status, StatusCode::OK);
    app.post("/api/v2/user/signout", json!({})).token(&user.token).send().await;
    assert_eq!(open(&app, &user, "/console").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn console_shows_own_instances_with_the_command_that_logs_in() {
    let app = TestApp::new().await;
    app.connected_backend("lab-1", 9).await;
    let (ada, eve) = (app.user("ada").await, app.user("eve").await);
    let id = app.running_instance(&ada, "web").await;
    let answer = app.get("/api/v2/user/instance/web").token(&ada.token).send().await;
    let command = answer.data()["sshDetails"]["command"].as_str().unwrap();
    for path in ["/console".to_owned(), format!("/console/instances/{id}")] {
        let page = open(&app, &ada, &path).await;
        assert_eq!((page.status, page.header("cache-control")), (StatusCode::OK, "no-store"), "{}", page.text);
        assert_eq!(page.header("content-security-policy"), CONTENT_SECURITY_POLICY);
        assert!(page.text.contains(command) && page.text.contains("Running"), "{}", page.text);
    }
    let part = open(&app, &ada, "/console/parts/instances").await;
    assert!(part.text.starts_with(r#"<section id="instances""#) && part.text.contains(command), "{}", part.text);
    let others = open(&app, &eve, "/console").await;
    assert!(others.text.contains("No instances yet") && !others.text.contains(command), "{}", others.text);
    let foreign = open(&app, &eve, &format!("/console/instances/{id}")).await;
    assert_eq!((foreign.status, foreign.text.contains(command)), (StatusCode::NOT_FOUND, false));
}

#[tokio::test]
async fn instance_page_has_the_history_and_what_is_under_way() {
    let app = TestApp::new().await;
    app.connected_backend("lab-1", 9).await;
    let user = app.user("ada").await;
    let id = app.running_instance(&user, "web").await;
    let page = open(&app, &user, &format!("/console/instances/{id}")).await;
    assert!(page.text.contains("by you") && page.text.contains("creating"), "{}", page.text);
    assert!(!page.text.contains("<progress"), "{}", page.text);
    let path = format!("/api/v2/user/instance?instanceId={id}");
    let deletion = app.request(axum::http::Method::DELETE, &path).header("prefer", "respond-async").token(&user.token);
    assert_eq!(deletion.send().await.status, 202);
    let part = open(&app, &user, &format!("/console/parts/instances/{id}")).await;
    assert!(part.text.starts_with(r#"<div id="instance""#) && part.text.contains("Deleting"), "{}", part.text);
    let answer = app.get(&format!("/api/v2/user/instance/{id}")).token(&user.token).send().await;
    let under_way = |member: &str| answer.data()["underWay"][member].as_str().unwrap();
    let bar = format!(r#"data-since="{}" data-deadline="{}""#, under_way("since"), under_way("deadline"));
    let list = open(&app, &user, "/console").await;
    assert!(part.text.contains(&bar) && list.text.contains(&bar), "{bar}: {}", list.text);
}

#[tokio::test]
async fn instance_page_says_why_its_machine_was_chosen() {
    let app = TestApp::new().await;
    app.connected_backend("lab-1", 9).await;
    let user = app.user("ada").await;
    let id = app.running_instance(&user, "web").await;
    let page = open(&app, &user, &format!("/console/instances/{id}")).await;
    let expected = "lab-1 had 0 of at most 9 instances. No other machine could take this one.";
    assert!(page.text.contains(expected), "{}", page.text);
}

#[tokio::test]
async fn instance_as_it_was_is_shown_beside_now() {
    let app = TestApp::new().await;
    app.connected_backend("lab-1", 9).await;
    let (user, eve) = (app.user("ada").await, app.user("eve").await);
    let id = app.running_instance(&user, "web").await;
    let path = format!("/api/v2/user/instance/{id}/history");
    let history = app.get(&path).token(&user.token).send().await;
    let first = history.data()["items"][0]["position"].as_str().unwrap().to_owned();
    let path = format!("/console/parts/instances/{id}/then?at={first}");
    let part = open(&app, &user, &path).await;
    let row = r#"<tr class="differs"><th scope="row">Status</th><td>Creating</td><td>Running</td></tr>"#;
    assert!(part.text.contains(row), "{}", part.text);
    let foreign = open(&app, &eve, &path).await;
    assert!(!foreign.text.contains("Creating") && foreign.text.contains("Does not exist"), "{}", foreign.text);
    let invalid = open(&app, &user, &format!("/console/parts/instances/{id}/then?at=never")).await;
    assert_eq!(invalid.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn account_page_shows_own_sessions_and_tokens() {
    let app = TestApp::new().await;
    let (ada, eve) = (app.signed_up_user("ada").await, app.user("eve").await);
    let body = json!({ "name": "<i>backup</i>", "scope": "read" });
    assert_eq!(app.post("/api/v2/user/tokens", body).token(&ada.token).send().await.status, 201);
    let page = open(&app, &ada, "/console/account").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    for expected in ["ada@", "This one", "&#60;i&#62;backup&#60;/i&#62;", "reads"] {
        assert!(page.text.contains(expected), "{expected}: {}", page.text);
    }
    for (part, id) in [("profile", "profile"), ("sessions", "sessions"), ("tokens", "tokens")] {
        let part = open(&app, &ada, &format!("/console/parts/{part}")).await;
        assert!(part.text.starts_with(&format!("<section id=\"{id}\"")), "{}", part.text);
    }
    let others = open(&app, &eve, "/console/account").await;
    assert!(!others.text.contains("&#62;backup&#60;") && others.text.contains("No tokens yet"), "{}", others.text);
}

#[tokio::test]
async fn reset_page_takes_the_token_of_its_link() {
    let app = TestApp::new().await;
    let page = shown(app.get("/console/reset?token=abc%22")).await;
    assert!(page.text.contains(r#"value="abc&#34;""#), "{}", page.text);
}

#[tokio::test]
async fn console_shows_markup_in_names_as_text() {
    let app = TestApp::new().await;
    let user = app.user("ada").await;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO";
    let body = json!({ "name": "<img src=x onerror=alert(1)>", "sshPublicKey": key });
    assert_eq!(app.post("/api/v2/user/keys", body).token(&user.token).send().await.status, 201);
    for path in ["/console", "/console/keys", "/console/parts/keys"] {
        let page = open(&app, &user, path).await;
        assert!(!page.text.contains("<img") && page.text.contains("img src=x"), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn console_without_the_database_says_so_in_words() {
    let app = TestApp::new().await;
    let user = app.user("ada").await;
    app.store.set_unavailable(true);
    let page = open(&app, &user, "/console").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{}", page.text);
    assert!(page.text.contains("The database is unreachable; try again."), "{}", page.text);
}

#[tokio::test]
async fn sign_up_page_asks_for_what_the_server_requires() {
    for (sign_up, expected) in [
        (SignUp::Open, "Create the account"),
        (SignUp::Invite(Vec::new()), "An administrator gives it to you"),
        (SignUp::Closed, "Nobody can sign up here"),
    ] {
        let app = TestApp::with(|settings| settings.sign_up = sign_up).await;
        let page = shown(app.get("/console/signup")).await;
        assert!(page.text.contains(expected), "{}", page.text);
    }
    let app = TestApp::new().await;
    let invited = shown(app.get("/console/signup?invitation=%22%3E%3Cscript%3E")).await;
    assert!(invited.text.contains(r#"value="&#34;&#62;&#60;script&#62;""#), "{}", invited.text);
}

#[tokio::test]
async fn console_of_a_server_without_cookies_is_not_there() {
    let app = TestApp::with(|settings| settings.cookies = Cookies::Off).await;
    for path in PAGES.into_iter().chain(PARTS).chain(["/console/signin", "/console/signup", "/console/reset"]) {
        assert_eq!(app.get(path).send().await.error(), (404, "not_found"), "{path}");
    }
    let status = shown(app.get("/").header("accept", "text/html")).await;
    assert!(!status.text.contains(r#"href="/console""#), "{}", status.text);
}

#[tokio::test]
async fn assets_of_a_page_are_cached_for_ever() {
    let app = TestApp::new().await;
    let page = shown(app.get("/console/signin")).await;
    let paths: Vec<&str> = page.text.split("\"/assets/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        let asset = app.get(&format!("/assets/{path}")).header("accept-encoding", "gzip").send_raw().await;
        assert_eq!(asset.status(), StatusCode::OK, "{path}");
        assert_eq!(asset.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable", "{path}");
        let is_compressed = asset.headers().contains_key(header::CONTENT_ENCODING);
        assert_eq!(is_compressed, !path.ends_with(".woff2"), "{path}");
    }
    assert_eq!(app.get("/assets/0000000000000000/app.js").send().await.error(), (404, "not_found"));
}

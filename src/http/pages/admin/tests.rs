use axum::http::StatusCode;
use serde_json::json;

use super::super::tests::{open, shown};
use super::with_parameter;
use crate::http::testing::TestApp;

const UNKNOWN: &str = "0190b2c4-5a51-7c3e-9d1e-000000000001";
/// The pages that need no id.
const PAGES: [&str; 5] = ["/admin", "/admin/machines", "/admin/instances", "/admin/people", "/admin/log"];
/// The parts that need no id, and where each begins.
const PARTS: [(&str, &str); 7] = [
    ("/admin/parts/overview", "overview"),
    ("/admin/parts/machines", "machines"),
    ("/admin/parts/enrolment-tokens", "enrolment-tokens"),
    ("/admin/parts/instances", "all-instances"),
    ("/admin/parts/people", "people"),
    ("/admin/parts/groups", "groups"),
    ("/admin/parts/log", "log"),
];

#[tokio::test]
async fn admin_pages_are_shown_to_administrators_only() {
    let app = TestApp::new().await;
    let (admin, ada) = (app.admin("root").await, app.user("ada").await);
    let of_one = ["machines", "instances", "people"].map(|kind| format!("/admin/{kind}/{UNKNOWN}"));
    for path in PAGES.iter().copied().chain(of_one.iter().map(String::as_str)) {
        let nobody = shown(app.get(path)).await;
        assert_eq!(nobody.header("location"), format!("/console/signin?next={path}"), "{path}");
        let user = open(&app, &ada, path).await;
        assert_eq!(user.status, StatusCode::FORBIDDEN, "{path}");
        assert!(user.text.contains("Only administrators may do this."), "{path}: {}", user.text);
    }
    for path in PAGES {
        let page = open(&app, &admin, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
    }
    for (path, id) in PARTS {
        assert_eq!(open(&app, &ada, path).await.status, StatusCode::FORBIDDEN, "{path}");
        let part = open(&app, &admin, path).await;
        assert_eq!(part.status, StatusCode::OK, "{path}: {}", part.text);
        assert!(part.text.contains(&format!(r#" id="{id}""#)), "{path}: {}", part.text);
    }
    for kind in ["machines", "people"] {
        let missing = open(&app, &admin, &format!("/admin/{kind}/{UNKNOWN}")).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND, "{kind}");
    }
}

#[tokio::test]
async fn console_leads_administrators_to_the_administration() {
    let app = TestApp::new().await;
    let (admin, ada) = (app.admin("root").await, app.user("ada").await);
    let link = r#"href="/admin""#;
    assert!(open(&app, &admin, "/console").await.text.contains(link));
    assert!(!open(&app, &ada, "/console").await.text.contains(link));
}

#[tokio::test]
async fn overview_says_what_needs_somebody() {
    let app = TestApp::new().await;
    let admin = app.admin("root").await;
    app.connected_backend("lab-1", 5).await;
    let calm = open(&app, &admin, "/admin").await;
    assert!(calm.text.contains("Nothing. All is well."), "{}", calm.text);
    let id = app.pending_backend("lab-2").await;
    let page = open(&app, &admin, "/admin").await;
    assert!(page.text.contains("lab-2: Waits for approval"), "{}", page.text);
    assert!(page.text.contains(&format!("/admin/machines/{id}")), "{}", page.text);
}

#[tokio::test]
async fn machine_page_offers_what_can_be_done_with_it() {
    let app = TestApp::new().await;
    let admin = app.admin("root").await;
    let machine = app.connected_backend("lab-1", 5).await;
    let path = format!("/admin/machines/{}", machine.id);
    let page = open(&app, &admin, &path).await;
    assert!(page.text.contains("0 of 5") && page.text.contains("Cordon lab-1"), "{}", page.text);
    app.cordon(machine.id, true).await;
    let cordoned = open(&app, &admin, &path).await;
    assert!(cordoned.text.contains("Uncordon lab-1") && cordoned.text.contains("Cordoned"), "{}", cordoned.text);
    let drain = format!("/api/v2/admin/backends/{}/drain", machine.id);
    assert_eq!(app.post(&drain, json!({})).token(&admin.token).send().await.status, 200);
    let drained = open(&app, &admin, &path).await;
    assert!(drained.text.contains("0 stopped, 0 moved, 0 stayed"), "{}", drained.text);
}

#[tokio::test]
async fn lists_of_administrators_are_filtered_and_paged_by_the_server() {
    let app = TestApp::new().await;
    let admin = app.admin("root").await;
    app.connected_backend("lab-1", 9).await;
    let (ada, eve) = (app.user("ada").await, app.user("eve").await);
    app.running_instance(&ada, "web").await;
    app.request_instance(&eve, "build").await;
    let running = open(&app, &admin, "/admin/instances?status=running").await;
    assert!(running.text.contains(">web</a>") && !running.text.contains(">build</a>"), "{}", running.text);
    assert!(
        running.text.contains(r#"<a href="/admin/instances?status=running" aria-current="true">"#),
        "{}",
        running.text
    );
    let of_eve = open(&app, &admin, &format!("/admin/instances?user={}", eve.id)).await;
    assert!(of_eve.text.contains(">build</a>") && !of_eve.text.contains(">web</a>"), "{}", of_eve.text);
    let first = open(&app, &admin, "/admin/instances?limit=1").await;
    let next = first
        .text
        .split(r#"<a class="link" href=""#)
        .find_map(|rest| rest.split('"').next().filter(|to| to.contains("cursor=")));
    let next = next.unwrap().replace("&#38;", "&");
    assert!(open(&app, &admin, &next).await.text.contains(">build</a>"), "{next}");
    let people = open(&app, &admin, "/admin/people?search=ad").await;
    assert!(people.text.contains(">ada</a>") && !people.text.contains(">eve</a>"), "{}", people.text);
}

#[tokio::test]
async fn person_page_and_log_show_no_markup_of_others() {
    let app = TestApp::new().await;
    let admin = app.admin("root").await;
    let ada = app.user("ada").await;
    let disable = format!("/api/v2/admin/users/{}/disable", ada.id);
    let body = json!({ "reason": "<script>alert(1)</script>" });
    assert_eq!(app.post(&disable, body).token(&admin.token).send().await.status, 200);
    for path in [format!("/admin/people/{}", ada.id), "/admin/log".to_owned(), "/admin/log?type=account".to_owned()] {
        let page = open(&app, &admin, &path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        assert!(!page.text.contains("<script>alert"), "{path}: {}", page.text);
    }
    let page = open(&app, &admin, &format!("/admin/people/{}", ada.id)).await;
    assert!(page.text.contains("Disabled") && page.text.contains("&#60;script&#62;"), "{}", page.text);
}

#[tokio::test]
async fn person_page_offers_to_erase_who_is_not_erased() {
    let app = TestApp::new().await;
    let (admin, ada) = (app.admin("root").await, app.user("ada").await);
    let path = format!("/admin/people/{}", ada.id);
    let api = format!("/api/v2/admin/users/{}", ada.id);
    let offer = format!(r#"data-method="DELETE" data-path="{api}" "#);
    let page = open(&app, &admin, &path).await;
    assert!(page.text.contains(&offer) && page.text.contains(r#"data-expected="ada""#), "{}", page.text);
    assert_eq!(app.delete(&api).token(&admin.token).send().await.status, 200);
    let erased = open(&app, &admin, &path).await;
    assert!(erased.text.contains("Erased") && !erased.text.contains(&offer), "{}", erased.text);
}

#[tokio::test]
async fn log_shows_the_last_events_first_and_those_before() {
    let app = TestApp::new().await;
    let admin = app.admin("root").await;
    for number in 0..250 {
        app.group(&format!("group-{number}")).await;
    }
    let last = open(&app, &admin, "/admin/log").await;
    let end = app.app.follower.position();
    let first_shown = last.text.split(r#"id="event-"#).nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(first_shown, end.to_string());
    let start = end + 1 - 200;
    assert!(last.text.contains(&format!("before={start}")) && last.text.contains("Live"), "{}", last.text);
    let earlier = open(&app, &admin, &format!("/admin/log?before={start}")).await;
    assert!(earlier.text.contains(&format!(r#"id="event-{}""#, start - 1)), "{}", earlier.text);
    assert!(!earlier.text.contains(&format!(r#"id="event-{start}""#)), "{}", earlier.text);
}

#[test]
fn with_parameter_replaces_adds_or_removes_one() {
    assert_eq!(with_parameter("", "state", Some("active")), "state=active");
    assert_eq!(with_parameter("search=a%26b&state=x", "state", Some("active")), "search=a%26b&state=active");
    assert_eq!(with_parameter("state=x&cursor=1", "cursor", None), "state=x");
}

use std::time::Duration;

use axum::http::StatusCode;
use dockhost_domain::event::Event;
use dockhost_domain::ids::{EventId, InstanceId};
use dockhost_domain::tenancy::TenancyEvent;
use dockhost_environment::settings::{Setting, Source, Value};
use dockhost_projections::Unreadable;
use serde_json::json;

use super::super::tests::{open, shown};
use super::with_parameter;
use crate::common::clock;
use crate::event_log::{Append, EventLog as _};
use crate::http::metrics::record;
use crate::http::testing::TestApp;
use crate::metrics::charts::STEP;

const UNKNOWN: &str = "0190b2c4-5a51-7c3e-9d1e-000000000001";
/// The pages that need no id.
const PAGES: [&str; 9] = [
    "/admin",
    "/admin/machines",
    "/admin/instances",
    "/admin/people",
    "/admin/log",
    "/admin/sessions",
    "/admin/usage",
    "/admin/quarantine",
    "/admin/settings",
];
/// The parts that need no id, and where each begins.
const PARTS: [(&str, &str); 11] = [
    ("/admin/parts/overview", "overview"),
    ("/admin/parts/charts", "charts"),
    ("/admin/parts/fleet-map", "fleet-map"),
    ("/admin/parts/machines", "machines"),
    ("/admin/parts/enrolment-tokens", "enrolment-tokens"),
    ("/admin/parts/instances", "all-instances"),
    ("/admin/parts/people", "people"),
    ("/admin/parts/groups", "groups"),
    ("/admin/parts/log", "log"),
    ("/admin/parts/sessions", "all-sessions"),
    ("/admin/parts/quarantine", "quarantine"),
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
async fn overview_draws_the_charts_of_the_time_that_is_asked_for() {
    let app = TestApp::new().await;
    let admin = app.admin("root").await;
    let young = open(&app, &admin, "/admin").await;
    assert!(young.text.contains("No figures yet") && young.text.contains("20 seconds"), "{}", young.text);
    for step in 0..4 {
        record(&app.app, STEP * step).await;
    }
    for (path, is_hour) in [("/admin", true), ("/admin?range=day", false), ("/admin/parts/charts?range=hour", true)] {
        let page = open(&app, &admin, path).await;
        assert_eq!(page.text.contains(r#"id="plot-requests""#), is_hour, "{path}: {}", page.text);
    }
    assert_eq!(open(&app, &admin, "/admin?range=year").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    for (path, draws) in [("/admin", true), ("/admin/machines", false), ("/console", false)] {
        let page = open(&app, &admin, path).await;
        assert_eq!(page.text.contains("uplot.min.js"), draws, "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn machines_page_maps_all_machines_by_their_load() {
    let app = TestApp::new().await;
    let admin = app.admin("root").await;
    let id = app.connected_backend("lab-1", 5).await.id;
    app.backend("lab-2", 5).await;
    for path in ["/admin/machines?limit=1", "/admin/parts/fleet-map", "/admin"] {
        let page = open(&app, &admin, path).await;
        assert_eq!(page.text.matches(r#"class="cell "#).count() - page.text.matches("<i class").count(), 2, "{path}");
        assert!(page.text.contains(&format!(r#"href="/admin/machines/{id}" title="lab-1: Connected, "#)), "{path}");
    }
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
    let named = open(&app, &admin, "/admin/instances?name=WE&status=running").await;
    assert!(named.text.contains(">web</a>") && !named.text.contains(">build</a>"), "{}", named.text);
    assert!(named.text.contains(r#"name="status" value="running""#), "the search forgets the state: {}", named.text);
    assert!(named.text.contains(r#"href="/admin/instances?name=WE""#), "the states forget the search: {}", named.text);
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

#[tokio::test]
async fn quarantine_page_offers_a_retry_and_the_overview_leads_to_it() {
    let app = TestApp::new().await;
    let admin = app.admin("root").await;
    let calm = open(&app, &admin, "/admin/quarantine").await;
    assert!(calm.text.contains("Nothing is quarantined"), "{}", calm.text);
    let subject = format!("dockhost.event.tenancy.{UNKNOWN}");
    let sequence = app.log.put_unreadable(&subject, "unknown <type>");
    app.store.quarantine("instances", Unreadable::new(&*subject, sequence, "unknown <type>"), true);
    app.eventually("the follower has read it", async || app.app.follower.frozen().len() == 1).await;
    let overview = open(&app, &admin, "/admin").await;
    assert!(overview.text.contains(&format!("{subject} can")), "{}", overview.text);
    assert!(overview.text.contains(r#"href="/admin/quarantine""#), "{}", overview.text);
    let page = open(&app, &admin, "/admin/quarantine").await;
    let retry = format!("/api/v2/admin/quarantine/{subject}/retry");
    for text in [&*format!(r#"data-path="{retry}""#), "unknown &#60;type&#62;", "The instances of one person"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    assert_eq!(app.post(&retry, json!({})).token(&admin.token).send().await.status, 200);
    let after = open(&app, &admin, "/admin/parts/quarantine").await;
    assert!(!after.text.contains("data-path"), "{}", after.text);
}

#[tokio::test]
async fn overview_has_overdue_operations_and_folds_away_what_is_well() {
    let app = TestApp::new().await;
    let admin = app.admin("root").await;
    app.connected_backend("lab-1", 5).await;
    let ada = app.user("ada").await;
    app.request_instance(&ada, "web").await;
    let calm = open(&app, &admin, "/admin").await;
    assert!(calm.text.contains("No operation is overdue."), "{}", calm.text);
    // Another request, whose deadline was a minute ago.
    let requested = app.log.events().last().unwrap().clone();
    let mut envelope = requested.envelope;
    envelope.meta.id = EventId::from_uuid(clock::fresh_uuid());
    let Event::Tenancy(TenancyEvent::Requested(event)) = &mut envelope.event else { panic!("it is no request") };
    event.instance_id = InstanceId::from_uuid(clock::fresh_uuid());
    event.deadline = clock::now().before(Duration::from_secs(60));
    app.log.append(Append { expected: requested.sequence, envelope }).await.unwrap();
    let late = open(&app, &admin, "/admin").await;
    assert!(late.text.contains("web of ada is overdue: it is still creating"), "{}", late.text);
    assert!(!late.text.contains("No operation is overdue."), "{}", late.text);
    let listed = open(&app, &admin, "/admin/instances?overdue=true").await;
    assert!(listed.text.contains(">web</a>") && listed.text.contains("whose operation is overdue"), "{}", listed.text);
}

#[tokio::test]
async fn sessions_page_has_those_of_everybody_or_of_one_person() {
    let app = TestApp::new().await;
    let (admin, ada) = (app.admin("root").await, app.user("ada").await);
    app.backend("lab-1", 5).await;
    let all = open(&app, &admin, "/admin/sessions").await;
    for text in [">ada</a>", ">root</a>", ">lab-1</a>", "/admin/machines/"] {
        assert!(all.text.contains(text), "{text}: {}", all.text);
    }
    let of_ada = open(&app, &admin, &format!("/admin/sessions?user={}", ada.id)).await;
    assert!(of_ada.text.contains(">ada</a>") && !of_ada.text.contains(">root</a>"), "{}", of_ada.text);
    let first = open(&app, &admin, "/admin/sessions?limit=1").await;
    assert!(first.text.contains("/admin/sessions?limit=1&#38;cursor="), "{}", first.text);
}

#[tokio::test]
async fn usage_page_is_for_whole_days_and_has_a_file_for_spreadsheets() {
    let app = TestApp::new().await;
    let admin = app.admin("root").await;
    app.connected_backend("lab-1", 5).await;
    let ada = app.user("ada").await;
    app.running_instance(&ada, "web").await;
    let page = open(&app, &admin, "/admin/usage").await;
    assert!(page.text.contains(">ada</a>") && page.text.contains(">lab-1</a>"), "{}", page.text);
    let earlier = open(&app, &admin, "/admin/usage?from=2020-01-01&to=2020-01-31").await;
    assert!(
        !earlier.text.contains(">ada</a>") && earlier.text.contains("Nothing ran in these days"),
        "{}",
        earlier.text
    );
    for days in ["from=yesterday&to=2020-01-31", "from=2020-01-31&to=2020-01-01", "from=2020-01-31&to=x"] {
        let refused = open(&app, &admin, &format!("/admin/usage?{days}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{days}: {}", refused.text);
        assert!(refused.text.contains("The usage can"), "{days}: {}", refused.text);
    }
    let csv = open(&app, &admin, "/admin/usage/csv").await;
    assert_eq!((csv.status, csv.header("content-type")), (StatusCode::OK, "text/csv"));
    assert!(csv.header("content-disposition").contains("usage.csv"));
    assert!(csv.text.starts_with("user_id,") && csv.text.contains(",ada,"), "{}", csv.text);
}

#[tokio::test]
async fn settings_page_shows_values_and_of_secrets_only_whether_they_are_set() {
    let setting = |name: &str, value, source| Setting { name: name.to_owned(), about: String::new(), value, source };
    let in_force = vec![
        setting("PORT", Value::Plain("<3001>".to_owned()), Source::Default),
        setting("DOCKHOST_METRICS_TOKEN", Value::Secret, Source::Environment),
    ];
    let app = TestApp::with(|settings| settings.in_force = in_force).await;
    let admin = app.admin("root").await;
    let all = open(&app, &admin, "/admin/settings").await;
    assert!(all.text.contains("&#60;3001&#62;") && all.text.contains(">set</span>"), "{}", all.text);
    let chosen = open(&app, &admin, "/admin/settings?chosen=true").await;
    assert!(chosen.text.contains("DOCKHOST_METRICS_TOKEN") && !chosen.text.contains("3001"), "{}", chosen.text);
}

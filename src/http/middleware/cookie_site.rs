//! `SameSite=None; Secure` for cookies that a frontend of another site is to keep: browsers ignore others in answers to its
//! pages. That no other page of such a site uses them is checked with each command (`extract::origin`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::Entry;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use axum_extra::extract::cookie::{Cookie, SameSite};

use crate::http::app::{App, CrossSite};
use crate::http::extract::origin;

/// The layer.
pub async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let settings = &app.settings;
    let is_cross_site = match settings.cross_site {
        CrossSite::Always => true,
        CrossSite::Never => false,
        CrossSite::ByRequest => {
            let headers = request.headers();
            origin::is_frontend(headers, &settings.frontends) && origin::is_cross_site(request.uri(), headers)
        }
    };
    let mut response = next.run(request).await;
    if is_cross_site {
        allow_other_sites(response.headers_mut());
    }
    response
}

fn allow_other_sites(headers: &mut HeaderMap) {
    let Entry::Occupied(mut cookies) = headers.entry(header::SET_COOKIE) else { return };
    for value in cookies.iter_mut() {
        let cookie = value.to_str().ok().and_then(|text| Cookie::parse(text.to_owned()).ok());
        let Some(mut cookie) = cookie else { continue };
        cookie.set_same_site(SameSite::None);
        // Browsers refuse it without.
        cookie.set_secure(true);
        if let Ok(changed) = HeaderValue::from_str(&cookie.to_string()) {
            *value = changed;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::app::Cookies;
    use crate::http::testing::{Answer, PASSWORD, TestApp};

    const FRONTEND: &str = "https://app.example.org";

    async fn sign_in(app: &TestApp, origin: &str, site: &str) -> Answer {
        let request = app.post("/api/v2/user/signin", json!({ "username": "ada", "password": PASSWORD }));
        request.header("origin", origin).header("sec-fetch-site", site).send().await
    }

    async fn app(cross_site: CrossSite) -> TestApp {
        let app = TestApp::with(|settings| {
            settings.frontends = vec!["https://other.example.org".to_owned(), FRONTEND.to_owned()];
            (settings.cookies, settings.cross_site) = (Cookies::Secure, cross_site);
        })
        .await;
        app.signed_up_user("ada").await;
        app
    }

    #[tokio::test]
    async fn cookie_for_a_frontend_of_another_site_has_same_site_none() {
        for (setting, origin, site, expected) in [
            (CrossSite::ByRequest, FRONTEND, "cross-site", "None"),
            (CrossSite::ByRequest, FRONTEND, "same-site", "Lax"),
            (CrossSite::ByRequest, "https://evil.example", "cross-site", "Lax"),
            (CrossSite::Never, FRONTEND, "cross-site", "Lax"),
            (CrossSite::Always, FRONTEND, "same-site", "None"),
        ] {
            let app = app(setting).await;
            let answer = sign_in(&app, origin, site).await;
            let cookie = answer.header("set-cookie").unwrap();
            assert!(cookie.contains(&format!("SameSite={expected}")), "{setting:?} {origin} {site}: {cookie}");
            let token = answer.cookie("__Host-accessToken").unwrap();
            assert_eq!(answer.data()["accessToken"], token, "the value is as it was");
            for part in ["HttpOnly", "Secure", "Path=/", "Max-Age="] {
                assert!(cookie.contains(part), "{part}: {cookie}");
            }
        }
    }

    /// Browsers ignore the removal of a cookie as well.
    #[tokio::test]
    async fn cookies_that_are_removed_for_another_site_have_same_site_none() {
        let app = app(CrossSite::ByRequest).await;
        let token = sign_in(&app, FRONTEND, "cross-site").await.cookie("__Host-accessToken").unwrap();
        let request =
            app.post("/api/v2/user/signout", json!({})).header("cookie", &format!("__Host-accessToken={token}"));
        let answer = request.header("origin", FRONTEND).header("sec-fetch-site", "cross-site").send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().map(|one| one.to_str().unwrap()).collect();
        assert!(cookies.len() >= 2, "{cookies:?}");
        for cookie in cookies {
            assert!(cookie.contains("SameSite=None") && cookie.contains("Max-Age=0"), "{cookie}");
        }
    }
}

//! `GET /api/v2/admin/settings`: the settings of the server that answers, as they are in force.

use std::sync::Arc;

use axum::extract::State;
use dockhost_environment::settings::{Setting, Source, Value};
use serde::Serialize;
use utoipa::ToSchema;

use super::list::List;
use crate::http::app::App;
use crate::http::extract::CurrentAdmin;
use crate::http::response::documented::{ADMIN, error_responses};
use crate::http::response::{ApiError, Reply, Success};

/// A setting of the server that answers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettingInForce {
    /// Its variable.
    name: String,
    /// What it is for.
    about: String,
    /// Its value, as in the environment. Null if it has none, or one that depends on others, and always for a secret.
    #[schema(required)]
    value: Option<String>,
    source: SettingSource,
    /// Whether it is a secret, or an address that may have a password in it.
    is_secret: bool,
    /// Whether it has a value.
    is_set: bool,
}

/// Where a value comes from: DockHost itself, a variable or a line of `.env`, or the command line.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SettingSource {
    Default,
    Environment,
    Argument,
}

impl From<Source> for SettingSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Default => Self::Default,
            Source::Environment => Self::Environment,
            Source::Argument => Self::Argument,
        }
    }
}

impl From<&Setting> for SettingInForce {
    fn from(Setting { name, about, value, source }: &Setting) -> Self {
        let (value, is_secret, is_set) = match value {
            Value::Plain(value) => (Some(value.clone()), false, true),
            Value::Absent => (None, false, false),
            Value::Secret => (None, true, true),
            Value::AbsentSecret => (None, true, false),
        };
        Self { name: name.clone(), about: about.clone(), value, source: (*source).into(), is_secret, is_set }
    }
}

error_responses!(SettingsErrors: ADMIN);

/// List the settings in force
///
/// Those of the server that answers; others may have been started with others. Of secrets, the answer says no more than whether
/// they are set.
#[utoipa::path(
    get,
    path = "/api/v2/admin/settings",
    operation_id = "listSettings",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    responses((status = 200, description = "The settings.", body = Success<List<SettingInForce>>), SettingsErrors),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
) -> Result<Reply<List<SettingInForce>>, ApiError> {
    let settings = app.settings.in_force.iter().map(SettingInForce::from).collect();
    Ok(Reply::ok("the settings", List::with_cursor(settings, None)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn settings_are_shown_with_their_source_and_without_secrets() {
        let setting = |name: &str, value, source| Setting {
            name: name.to_owned(),
            about: "What it is for".to_owned(),
            value,
            source,
        };
        let in_force = vec![
            setting("PORT", Value::Plain("3001".to_owned()), Source::Default),
            setting("DOCKHOST_BIND", Value::Absent, Source::Default),
            setting("DOCKHOST_METRICS_TOKEN", Value::Secret, Source::Environment),
            setting("DOCKHOST_INVITE_CODES", Value::AbsentSecret, Source::Argument),
        ];
        let app = TestApp::with(|settings| settings.in_force = in_force).await;
        let boss = app.admin("boss").await;
        let answer = app.get("/api/v2/admin/settings").token(&boss.token).send().await;
        let shown = |name: &str, value: Option<&str>, source: &str, is_secret: bool, is_set: bool| {
            json!({
                "name": name, "about": "What it is for", "value": value, "source": source, "isSecret": is_secret,
                "isSet": is_set,
            })
        };
        let expected = json!([
            shown("PORT", Some("3001"), "default", false, true),
            shown("DOCKHOST_BIND", None, "default", false, false),
            shown("DOCKHOST_METRICS_TOKEN", None, "environment", true, true),
            shown("DOCKHOST_INVITE_CODES", None, "argument", true, false),
        ]);
        assert_eq!(answer.data()["items"], expected);
    }
}

//! The pages of administrators. Each asks the handlers of the administration in the API, which check the role once more.

mod charts;
mod fleet;
mod instances;
mod log;
mod overview;
mod people;
mod quarantine;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;
mod usage;
mod viewer;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use dockhost_dashboard::admin::List;

use crate::http::app::App;
use crate::http::response::ApiError;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/admin", get(overview::page))
        .route("/admin/machines", get(fleet::page))
        .route("/admin/machines/{id}", get(fleet::machine_page))
        .route("/admin/instances", get(instances::page))
        .route("/admin/instances/{id}", get(instances::history_page))
        .route("/admin/people", get(people::page))
        .route("/admin/people/{id}", get(people::person_page))
        .route("/admin/log", get(log::page))
        .route("/admin/sessions", get(sessions::page))
        .route("/admin/usage", get(usage::page))
        .route("/admin/usage/csv", get(usage::csv))
        .route("/admin/quarantine", get(quarantine::page))
        .route("/admin/settings", get(settings::page))
        .route("/admin/parts/overview", get(overview::part))
        .route("/admin/parts/charts", get(charts::part))
        .route("/admin/parts/fleet-map", get(fleet::map_part))
        .route("/admin/parts/machines", get(fleet::part))
        .route("/admin/parts/machines/{id}", get(fleet::machine_part))
        .route("/admin/parts/enrolment-tokens", get(fleet::tokens_part))
        .route("/admin/parts/instances", get(instances::part))
        .route("/admin/parts/instances/{id}", get(instances::history_part))
        .route("/admin/parts/people", get(people::part))
        .route("/admin/parts/people/{id}", get(people::person_part))
        .route("/admin/parts/groups", get(people::groups_part))
        .route("/admin/parts/invitations", get(people::invitations_part))
        .route("/admin/parts/log", get(log::part))
        .route("/admin/parts/sessions", get(sessions::part))
        .route("/admin/parts/quarantine", get(quarantine::part))
}

/// All items of a list of the API, page by page.
async fn all<T, F: Future<Output = Result<List<T>, ApiError>>>(
    page: impl Fn(Option<String>) -> F,
) -> Result<Vec<T>, ApiError> {
    let List { mut items, mut next_cursor } = page(None).await?;
    while let Some(cursor) = next_cursor.take() {
        let next = page(Some(cursor)).await?;
        items.extend(next.items);
        next_cursor = next.next_cursor;
    }
    Ok(items)
}

/// A query with another value of one parameter, or without it. Values are ids and words, which need no encoding.
fn with_parameter(query: &str, name: &str, value: Option<&str>) -> String {
    let others = query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name));
    let value = value.map(|value| format!("{name}={value}"));
    others.map(str::to_owned).chain(value).collect::<Vec<_>>().join("&")
}

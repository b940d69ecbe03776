//! The web pages: a status page for everybody, the console, in which people manage their instances, and the pages of
//! administrators.
//!
//! A page asks the API's own handlers, and `dashboard` renders what they answer. The pages change nothing: each of their
//! forms is a call of the API, which the browser sends, so the API's rules and its check of the origin count for people as
//! for programs. The routes are not in the API's document.

mod account;
mod admin;
mod asset;
mod caller;
mod error;
mod home;
mod instance;
mod instances;
mod keys;
mod page;
mod sign_in;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

pub use home::status;

use super::app::{App, Cookies};

/// The assets, and the console unless the server keeps no sessions in cookies.
pub fn routes(app: &App) -> Router<Arc<App>> {
    let router = Router::new().route("/assets/{hash}/{name}", get(asset::get));
    if has_console(app) { router.merge(console()).merge(admin::routes()) } else { router }
}

/// Without cookies a browser can't stay signed in.
fn has_console(app: &App) -> bool {
    app.settings.cookies != Cookies::Off
}

fn console() -> Router<Arc<App>> {
    Router::new()
        .route("/console", get(instances::page))
        .route("/console/signin", get(sign_in::sign_in))
        .route("/console/signup", get(sign_in::sign_up))
        .route("/console/instances/{id}", get(instance::page))
        .route("/console/keys", get(keys::page))
        .route("/console/account", get(account::page))
        .route("/console/reset", get(sign_in::reset))
        .route("/console/parts/instances", get(instances::part))
        .route("/console/parts/instances/{id}", get(instance::part))
        .route("/console/parts/instances/{id}/then", get(instance::then))
        .route("/console/parts/keys", get(keys::part))
        .route("/console/parts/profile", get(account::profile_part))
        .route("/console/parts/sessions", get(account::sessions_part))
        .route("/console/parts/tokens", get(account::tokens_part))
}

//! `GET /api/v2/admin/enrolment-tokens`: the enrolment tokens. They come from the log, not from a read model.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::enrolment::EnrolmentTokens;
use dockhost_domain::subject::AllEnrolmentTokens;
use serde::Deserialize;

use super::enrolment_token_view::{EnrolmentToken, EnrolmentTokenStatus};
use super::list::{self, List, MAX_LIMIT};
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Query};
use crate::http::response::documented::{ADMIN, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// Which tokens.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct EnrolmentTokensParameters {
    status: Option<EnrolmentTokenStatus>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
}

impl EnrolmentTokensParameters {
    /// The longest page after a cursor.
    pub const fn after(cursor: Option<String>) -> Self {
        Self { status: None, limit: Some(MAX_LIMIT), cursor }
    }
}

error_responses!(EnrolmentTokensErrors: ADMIN, &[Code::ValidationFailed]);

/// List enrolment tokens
///
/// The oldest first. A token that is over is listed until 30 days after the time at which it would have expired.
#[utoipa::path(
    get,
    path = "/api/v2/admin/enrolment-tokens",
    operation_id = "listEnrolmentTokens",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(EnrolmentTokensParameters),
    responses(
        (status = 200, description = "The tokens.", body = Success<List<EnrolmentToken>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        EnrolmentTokensErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Query(EnrolmentTokensParameters { status, limit, cursor }): Query<EnrolmentTokensParameters>,
) -> Result<Reply<List<EnrolmentToken>>, ApiError> {
    let page = list::page(limit, cursor.as_deref())?;
    let tokens = app.executor.confirmed::<EnrolmentTokens>(AllEnrolmentTokens).await?;
    let now = clock::now();
    let all = tokens.state.iter();
    let asked = all.filter(|(_, one)| status.is_none_or(|status| EnrolmentTokenStatus::of(one, now) == status));
    let list = List::of_all(&page, asked, |(id, _)| *id, |(id, one)| EnrolmentToken::new(id, one, now));
    Ok(Reply::ok("the enrolment tokens", list).position(app.position(tokens.sequence)))
}

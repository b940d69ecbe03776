//! `GET /api/v2/admin/invitations`: the invitations. They come from the log, not from a read model.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::invitation::Invitations;
use dockhost_domain::subject::AllInvitations;
use serde::Deserialize;

use super::invitation_view::{Invitation, InvitationStatus};
use super::list::{self, List, MAX_LIMIT};
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Query};
use crate::http::response::documented::{ADMIN, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// Which invitations.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct InvitationsParameters {
    status: Option<InvitationStatus>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
}

impl InvitationsParameters {
    /// The longest page after a cursor.
    pub const fn after(cursor: Option<String>) -> Self {
        Self { status: None, limit: Some(MAX_LIMIT), cursor }
    }
}

error_responses!(InvitationsErrors: ADMIN, &[Code::ValidationFailed]);

/// List invitations
///
/// The oldest first. An invitation that is over is listed until 30 days after the time at which it would have expired.
#[utoipa::path(
    get,
    path = "/api/v2/admin/invitations",
    operation_id = "listInvitations",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(InvitationsParameters),
    responses(
        (status = 200, description = "The invitations.", body = Success<List<Invitation>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        InvitationsErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Query(InvitationsParameters { status, limit, cursor }): Query<InvitationsParameters>,
) -> Result<Reply<List<Invitation>>, ApiError> {
    let page = list::page(limit, cursor.as_deref())?;
    let invitations = app.executor.confirmed::<Invitations>(AllInvitations).await?;
    let now = clock::now();
    let all = invitations.state.iter();
    let asked = all.filter(|(_, one)| status.is_none_or(|status| InvitationStatus::of(one, now) == status));
    let list = List::of_all(&page, asked, |(id, _)| *id, |(id, one)| Invitation::new(id, one, now));
    Ok(Reply::ok("the invitations", list).position(app.position(invitations.sequence)))
}

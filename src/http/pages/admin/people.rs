//! `GET /admin/people`, and one person.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use dockhost_dashboard::admin::people::{
    Group, GroupList, Invitation, InvitationList, PeopleList, PeoplePage, Person, PersonDetail, PersonPage,
};
use dockhost_dashboard::admin::{Chip, List};
use serde::Deserialize;

use super::super::error::PageError;
use super::super::page::{Page, in_place, read};
use super::viewer::AdminViewer;
use super::{all, with_parameter};
use crate::http::admin::groups::GroupsParameters;
use crate::http::admin::invitations::InvitationsParameters;
use crate::http::admin::users::UsersParameters;
use crate::http::admin::{groups, invitations, user, users};
use crate::http::app::App;
use crate::http::extract::{Path, Query, ReadPosition};
use crate::http::response::ApiError;

/// The people that can be chosen, by their words.
const CHOICES: [(&str, &str, Option<&str>); 4] = [
    ("All", "state", None),
    ("Active", "state", Some("active")),
    ("Disabled", "state", Some("disabled")),
    ("Administrators", "role", Some("admin")),
];

/// What is looked for by name.
#[derive(Deserialize)]
pub struct SearchParameters {
    search: Option<String>,
}

pub async fn page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    Query(SearchParameters { search }): Query<SearchParameters>,
    Query(parameters): Query<UsersParameters>,
) -> Result<Page<PeoplePage>, PageError> {
    let query = query.unwrap_or_default();
    let kept = ["cursor", "state", "role"].iter().fold(query.clone(), |query, name| with_parameter(&query, name, None));
    let current = with_parameter(&query, "cursor", None);
    let chip = |(name, parameter, value): (&'static str, &str, Option<&str>)| {
        let chosen = with_parameter(&kept, parameter, value);
        Chip { name, is_chosen: chosen == current, address: format!("/admin/people?{chosen}") }
    };
    let chips = CHOICES.map(chip).to_vec();
    let (status, list) = list(&app, viewer, query, parameters).await;
    let (groups_status, groups) = in_place(groups(&app, viewer).await);
    let (invitations_status, invitations) = in_place(invitations(&app, viewer).await);
    let page = PeoplePage {
        frame: viewer.frame(&app).await?,
        list,
        search: search.unwrap_or_default(),
        chips,
        groups: GroupList { groups },
        invitations: InvitationList { invitations },
    };
    Ok(Page::with_status(status.max(groups_status).max(invitations_status), page))
}

pub async fn part(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    Query(parameters): Query<UsersParameters>,
) -> Page<PeopleList> {
    let (status, list) = list(&app, viewer, query.unwrap_or_default(), parameters).await;
    Page::with_status(status, list)
}

pub async fn groups_part(viewer: AdminViewer, State(app): State<Arc<App>>) -> Page<GroupList> {
    let (status, groups) = in_place(groups(&app, viewer).await);
    Page::with_status(status, GroupList { groups })
}

pub async fn invitations_part(viewer: AdminViewer, State(app): State<Arc<App>>) -> Page<InvitationList> {
    let (status, invitations) = in_place(invitations(&app, viewer).await);
    Page::with_status(status, InvitationList { invitations })
}

pub async fn person_page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Page<PersonPage>, PageError> {
    let detail = PersonDetail { person: person(&app, viewer, id).await? };
    let groups = groups(&app, viewer).await?;
    Ok(Page::ok(PersonPage { frame: viewer.frame(&app).await?, detail, groups }))
}

pub async fn person_part(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Page<PersonDetail>, PageError> {
    Ok(Page::ok(PersonDetail { person: person(&app, viewer, id).await? }))
}

async fn list(
    app: &Arc<App>,
    viewer: AdminViewer,
    query: String,
    parameters: UsersParameters,
) -> (StatusCode, PeopleList) {
    let app = State(Arc::clone(app));
    let found = users::get(viewer.admin, app, ReadPosition(None), Query(parameters)).await;
    let (status, people) = in_place(found.and_then(|reply| read::<List<Person>>(reply.into_data())));
    let cursor = people.as_ref().ok().and_then(|list| list.next_cursor.as_deref());
    let next = cursor.map(|cursor| format!("/admin/people?{}", with_parameter(&query, "cursor", Some(cursor))));
    (status, PeopleList { people, query, next })
}

async fn person(app: &Arc<App>, viewer: AdminViewer, id: String) -> Result<Person, ApiError> {
    let found = user::get(viewer.admin, State(Arc::clone(app)), Path(id), ReadPosition(None)).await?;
    read(found.into_data())
}

async fn groups(app: &Arc<App>, viewer: AdminViewer) -> Result<Vec<Group>, ApiError> {
    all(|cursor| groups_after(app, viewer, cursor)).await
}

async fn groups_after(app: &Arc<App>, viewer: AdminViewer, cursor: Option<String>) -> Result<List<Group>, ApiError> {
    let parameters = Query(GroupsParameters::after(cursor));
    read(groups::get(viewer.admin, State(Arc::clone(app)), parameters).await?.into_data())
}

/// The invitations that can be used.
async fn invitations(app: &Arc<App>, viewer: AdminViewer) -> Result<Vec<Invitation>, ApiError> {
    let invitations = all(|cursor| invitations_after(app, viewer, cursor)).await?;
    Ok(invitations.into_iter().filter(|invitation| invitation.status == "valid").collect())
}

async fn invitations_after(
    app: &Arc<App>,
    viewer: AdminViewer,
    cursor: Option<String>,
) -> Result<List<Invitation>, ApiError> {
    let parameters = Query(InvitationsParameters::after(cursor));
    read(invitations::get(viewer.admin, State(Arc::clone(app)), parameters).await?.into_data())
}

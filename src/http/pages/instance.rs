//! `GET /console/instances/{id}`: one of the viewer's instances, and what happened to it, also after its deletion.

use std::sync::Arc;

use axum::extract::State;
use dockhost_dashboard::compare::{Member, compare};
use dockhost_dashboard::instance::Instance;
use dockhost_dashboard::pages::InstancePage;
use dockhost_dashboard::parts::{InstanceDetail, Then};
use serde::Deserialize;

use super::account::account;
use super::caller::Viewer;
use super::error::{PageError, sentence};
use super::page::{Page, frame_of, in_place, read};
use crate::http::admin::list::ArrayPage;
use crate::http::app::App;
use crate::http::extract::{CurrentUser, IfNoneMatch, Path, Query, ReadPosition};
use crate::http::past::history::HistoryParameters;
use crate::http::queries;
use crate::http::queries::instance::InstanceParameters;
use crate::http::response::{ApiError, Code};

/// Events that a page shows.
const EVENTS: u32 = 200;

pub async fn page(
    Viewer(user): Viewer,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Page<InstancePage>, PageError> {
    let detail = detail(&app, user, id).await?;
    let account = account(&app, user).await?;
    Ok(Page::ok(InstancePage { frame: frame_of(&app, &account), detail }))
}

pub async fn part(
    Viewer(user): Viewer,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Page<InstanceDetail>, PageError> {
    Ok(Page::ok(detail(&app, user, id).await?))
}

async fn detail(app: &Arc<App>, user: CurrentUser, id: String) -> Result<InstanceDetail, ApiError> {
    let app = || State(Arc::clone(app));
    let (path, position, now) = (Path(id.clone()), ReadPosition(None), Query(InstanceParameters::now()));
    let instance = match queries::instance::get(user, app(), path, position, IfNoneMatch::default(), now).await {
        Ok(reply) => Some(read(reply.into_data())?),
        Err(error) if error.code() == Code::NotFound => None,
        Err(error) => return Err(error),
    };
    let parameters = Query(HistoryParameters::first(EVENTS));
    let keys = read(queries::ssh_keys::get(user, app(), ArrayPage::all()).await?.into_data())?;
    let history = queries::instance_history::get(user, app(), Path(id.clone()), ReadPosition(None), parameters).await;
    let history = match history {
        // Neither an instance nor a deleted one.
        Err(error) if error.code() == Code::NotFound && instance.is_none() => return Err(error),
        Err(error) => Err(sentence(&error)),
        Ok(reply) => Ok(read(reply.into_data())?),
    };
    Ok(InstanceDetail { instance, id, keys, history })
}

/// When.
#[derive(Deserialize)]
pub struct ThenParameters {
    /// A position of the log.
    at: String,
}

/// `GET /console/parts/instances/{id}/then`: the instance as it was, beside now.
pub async fn then(
    Viewer(user): Viewer,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(ThenParameters { at }): Query<ThenParameters>,
) -> Page<Then> {
    let (status, members) = in_place(compared(&app, user, id, at).await);
    Page::with_status(status, Then { members })
}

async fn compared(app: &Arc<App>, user: CurrentUser, id: String, at: String) -> Result<Vec<Member>, ApiError> {
    let get = async |parameters| {
        let (path, position) = (Path(id.clone()), ReadPosition(None));
        match queries::instance::get(
            user,
            State(Arc::clone(app)),
            path,
            position,
            IfNoneMatch::default(),
            Query(parameters),
        )
        .await
        {
            Ok(reply) => Ok(Some(read(reply.into_data())?)),
            Err(error) if error.code() == Code::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    let (then, now): (Option<Instance>, Option<Instance>) =
        (get(InstanceParameters::at(at)).await?, get(InstanceParameters::now()).await?);
    Ok(compare(then.as_ref(), now.as_ref()))
}

//! `GET /admin/machines`, and one machine.

use std::sync::Arc;

use axum::extract::State;
use dockhost_dashboard::admin::List;
use dockhost_dashboard::admin::fleet::{
    EnrolmentToken, EnrolmentTokenList, Machine, MachineDetail, MachineList, MachinePage, MachinesPage,
};
use dockhost_dashboard::admin::fleet_map::FleetMap;
use serde::Deserialize;

use super::super::error::{PageError, sentence};
use super::super::page::{Page, in_place, read};
use super::all;
use super::viewer::AdminViewer;
use crate::http::admin::backends::BackendsParameters;
use crate::http::admin::enrolment_tokens::EnrolmentTokensParameters;
use crate::http::admin::{backend, backend_drain, backends, enrolment_tokens};
use crate::http::app::App;
use crate::http::extract::{IfNoneMatch, Path, Query, ReadPosition};
use crate::http::response::{ApiError, Code};

/// Where a page of the list begins.
#[derive(Deserialize)]
pub struct MachinesParameters {
    cursor: Option<String>,
}

pub async fn page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Query(MachinesParameters { cursor }): Query<MachinesParameters>,
    Query(parameters): Query<BackendsParameters>,
) -> Result<Page<MachinesPage>, PageError> {
    let (status, machines) = in_place(machines(&app, viewer, parameters).await);
    let (_, all_machines) = in_place(all_machines(&app, viewer).await);
    let (tokens_status, tokens) = in_place(tokens(&app, viewer).await);
    let page = MachinesPage {
        frame: viewer.frame(&app).await?,
        map: FleetMap { machines: all_machines },
        list: MachineList { machines, cursor },
        tokens: EnrolmentTokenList { tokens },
    };
    Ok(Page::with_status(status.max(tokens_status), page))
}

pub async fn part(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Query(MachinesParameters { cursor }): Query<MachinesParameters>,
    Query(parameters): Query<BackendsParameters>,
) -> Page<MachineList> {
    let (status, machines) = in_place(machines(&app, viewer, parameters).await);
    Page::with_status(status, MachineList { machines, cursor })
}

pub async fn map_part(viewer: AdminViewer, State(app): State<Arc<App>>) -> Page<FleetMap> {
    let (status, machines) = in_place(all_machines(&app, viewer).await);
    Page::with_status(status, FleetMap { machines })
}

pub async fn tokens_part(viewer: AdminViewer, State(app): State<Arc<App>>) -> Page<EnrolmentTokenList> {
    let (status, tokens) = in_place(tokens(&app, viewer).await);
    Page::with_status(status, EnrolmentTokenList { tokens })
}

pub async fn machine_page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Page<MachinePage>, PageError> {
    let detail = detail(&app, viewer, id).await?;
    Ok(Page::ok(MachinePage { frame: viewer.frame(&app).await?, detail }))
}

pub async fn machine_part(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Page<MachineDetail>, PageError> {
    Ok(Page::ok(detail(&app, viewer, id).await?))
}

/// A page of the machines.
async fn machines(
    app: &Arc<App>,
    viewer: AdminViewer,
    parameters: BackendsParameters,
) -> Result<List<Machine>, ApiError> {
    let app = State(Arc::clone(app));
    read(backends::get(viewer.admin, app, ReadPosition(None), Query(parameters)).await?.into_data())
}

/// All machines.
///
/// # Errors
/// Those of `GET /api/v2/admin/backends`.
pub async fn all_machines(app: &Arc<App>, viewer: AdminViewer) -> Result<Vec<Machine>, ApiError> {
    all(|cursor| machines(app, viewer, BackendsParameters::after(cursor))).await
}

/// The enrolment tokens that can be used.
async fn tokens(app: &Arc<App>, viewer: AdminViewer) -> Result<Vec<EnrolmentToken>, ApiError> {
    let tokens = all(|cursor| tokens_after(app, viewer, cursor)).await?;
    Ok(tokens.into_iter().filter(|token| token.status == "valid").collect())
}

async fn tokens_after(
    app: &Arc<App>,
    viewer: AdminViewer,
    cursor: Option<String>,
) -> Result<List<EnrolmentToken>, ApiError> {
    let parameters = Query(EnrolmentTokensParameters::after(cursor));
    read(enrolment_tokens::get(viewer.admin, State(Arc::clone(app)), parameters).await?.into_data())
}

async fn detail(app: &Arc<App>, viewer: AdminViewer, id: String) -> Result<MachineDetail, ApiError> {
    let app = || State(Arc::clone(app));
    let found = backend::get(viewer.admin, app(), Path(id.clone()), ReadPosition(None), IfNoneMatch::default()).await?;
    let progress = match backend_drain::get(viewer.admin, app(), ReadPosition(None), Path(id)).await {
        Ok(progress) => Some(Ok(read(progress.into_data())?)),
        // It is not drained.
        Err(error) if error.code() == Code::NotFound => None,
        Err(error) => Some(Err(sentence(&error))),
    };
    Ok(MachineDetail { machine: read(found.into_data())?, progress })
}

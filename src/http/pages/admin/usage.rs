//! `GET /admin/usage`, and the same for a spreadsheet.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use dockhost_dashboard::admin::usage::{Report, UsagePage};
use dockhost_domain::timestamp::Timestamp;
use serde::Deserialize;

use super::super::error::PageError;
use super::super::page::{Page, in_place, read};
use super::viewer::AdminViewer;
use crate::common::clock;
use crate::http::admin::usage::{self, UsageParameters};
use crate::http::app::App;
use crate::http::extract::{Query, ReadPosition};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The days of a period, such as `2026-11-01`; without, those of this month.
#[derive(Deserialize)]
pub struct Days {
    from: Option<String>,
    to: Option<String>,
}

impl Days {
    /// The first and the last day.
    fn or_this_month(self, now: Timestamp) -> (String, String) {
        let now = now.to_string();
        let first = || format!("{}-01", now.get(..7).unwrap_or_default());
        let today = || now.get(..10).unwrap_or_default().to_owned();
        (self.from.unwrap_or_else(first), self.to.unwrap_or_else(today))
    }
}

/// The period from the beginning of a day to the end of another. The API refuses what is no day.
fn period(from: &str, to: &str) -> UsageParameters {
    let midnight = |day: &str| format!("{day}T00:00:00Z");
    let end = midnight(to).parse::<Timestamp>().map_or_else(|_| to.to_owned(), |time| time.after(DAY).to_string());
    UsageParameters::between(midnight(from), end)
}

pub async fn page(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Query(days): Query<Days>,
) -> Result<Page<UsagePage>, PageError> {
    let (from, to) = days.or_this_month(clock::now());
    let found = usage::report(&app, viewer.admin, ReadPosition(None), &period(&from, &to)).await;
    let (status, report) = in_place(found.and_then(|(report, _)| read::<Report>(report)));
    Ok(Page::with_status(status, UsagePage { frame: viewer.frame(&app).await?, from, to, report }))
}

/// A file of comma-separated values.
pub async fn csv(
    viewer: AdminViewer,
    State(app): State<Arc<App>>,
    Query(days): Query<Days>,
) -> Result<Response, PageError> {
    let (from, to) = days.or_this_month(clock::now());
    let mut as_csv = HeaderMap::new();
    as_csv.insert(header::ACCEPT, HeaderValue::from_static(usage::CSV));
    let asked = Query(period(&from, &to));
    let mut answer = usage::get(viewer.admin, State(app), ReadPosition(None), as_csv, asked).await?;
    let disposition = HeaderValue::from_static("attachment; filename=\"usage.csv\"");
    answer.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_this_month_unless_some_are_chosen() {
        let now = "2026-11-27T04:00:00Z".parse().unwrap();
        let days = |from: Option<&str>, to: Option<&str>| {
            Days { from: from.map(str::to_owned), to: to.map(str::to_owned) }.or_this_month(now)
        };
        assert_eq!(days(None, None), ("2026-11-01".to_owned(), "2026-11-27".to_owned()));
        assert_eq!(days(Some("2026-01-31"), Some("2026-02-28")), ("2026-01-31".to_owned(), "2026-02-28".to_owned()));
    }
}

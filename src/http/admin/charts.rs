//! `GET /api/v2/admin/charts`: the figures of the last hour or day, for charts.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::common::clock;
use crate::http::app::App;
use crate::http::extract::{CurrentAdmin, Query};
use crate::http::response::documented::{ADMIN, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::metrics::charts::{Counts, Gauges, Interval, Span};

/// How far back.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChartsParameters {
    /// How far the figures go back; an hour by default.
    #[param(inline)]
    range: Option<ChartsRange>,
}

/// How far figures go back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ChartsRange {
    #[default]
    Hour,
    Day,
}

impl From<ChartsRange> for Span {
    fn from(range: ChartsRange) -> Self {
        match range {
            ChartsRange::Hour => Self::Hour,
            ChartsRange::Day => Self::Day,
        }
    }
}

/// Figures at several times. Each list has one number for each of `times`, or null for what is not known.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Charts {
    range: ChartsRange,
    /// The seconds between two times.
    step_seconds: u64,
    /// When the replica that answers started. It has no figures from before.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// The end of each step, in seconds since 1970.
    times: Vec<i64>,
    installation: InstallationCharts,
    replica: ReplicaCharts,
}

/// What is so for the whole installation, as the replica that answers knows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InstallationCharts {
    /// Operations that create an instance, per minute.
    creates_per_minute: Vec<f64>,
    /// Operations that stop one, by whomever, per minute.
    stops_per_minute: Vec<f64>,
    /// Operations that delete one, per minute.
    deletes_per_minute: Vec<f64>,
    /// Instances that run.
    running: Vec<Option<f64>>,
    /// Backends that send heartbeats.
    machines: Vec<Option<f64>>,
    /// The age of the oldest event that a read model lacks.
    lag_seconds: Vec<Option<f64>>,
}

/// What is so for the replica that answers alone.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReplicaCharts {
    /// Requests that it answered.
    requests_per_second: Vec<f64>,
    /// The duration within which half of them were answered, estimated from the buckets of the metrics.
    p50_seconds: Vec<Option<f64>>,
    /// The duration within which 99 % of them were answered.
    p99_seconds: Vec<Option<f64>>,
    /// Its memory.
    memory_bytes: Vec<Option<f64>>,
}

error_responses!(ChartsErrors: ADMIN, &[Code::ValidationFailed]);

/// Get the charts
///
/// The figures of `/metrics` at steps of 10 s in the last hour, or of 2 minutes in the last day, in columns. `installation` is
/// the same on every replica, but for what a replica that started later did not see; `replica` is about the one that answers.
#[utoipa::path(
    get,
    path = "/api/v2/admin/charts",
    operation_id = "getCharts",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(ChartsParameters),
    responses((status = 200, description = "The figures.", body = Success<Charts>), ChartsErrors),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Query(ChartsParameters { range }): Query<ChartsParameters>,
) -> Result<Reply<Charts>, ApiError> {
    let range = range.unwrap_or_default();
    let up = i64::try_from(app.started.elapsed().as_millis()).unwrap_or(i64::MAX);
    let started_at = Timestamp::from_millis(clock::now().millis().saturating_sub(up));
    Ok(Reply::ok("the charts", Charts::new(range, started_at, &app.metrics.charts.intervals(range.into()))))
}

impl Charts {
    fn new(range: ChartsRange, started_at: Timestamp, intervals: &[Interval]) -> Self {
        let per_minute = |count: fn(&Counts) -> u64| {
            column(intervals, |interval| rounded(60.0 * interval.per_second(count(&interval.counts))))
        };
        let gauge =
            |figure: fn(&Gauges) -> Option<f64>| column(intervals, |interval| figure(&interval.gauges).map(rounded));
        let duration = |share: f64| column(intervals, |interval| interval.counts.duration(share).map(rounded));
        Self {
            range,
            step_seconds: Span::from(range).step().as_secs(),
            started_at,
            times: column(intervals, |interval| started_at.after(interval.end).seconds()),
            installation: InstallationCharts {
                creates_per_minute: per_minute(|counts| counts.creates),
                stops_per_minute: per_minute(|counts| counts.stops),
                deletes_per_minute: per_minute(|counts| counts.deletes),
                running: gauge(|gauges| gauges.running),
                machines: gauge(|gauges| gauges.machines),
                lag_seconds: gauge(|gauges| gauges.lag_seconds),
            },
            replica: ReplicaCharts {
                requests_per_second: column(intervals, |interval| {
                    rounded(interval.per_second(interval.counts.requests()))
                }),
                p50_seconds: duration(0.5),
                p99_seconds: duration(0.99),
                memory_bytes: gauge(|gauges| gauges.memory_bytes),
            },
        }
    }
}

fn column<T>(intervals: &[Interval], figure: impl Fn(&Interval) -> T) -> Vec<T> {
    intervals.iter().map(figure).collect()
}

/// To a millionth: more is not measured.
fn rounded(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::http::metrics::record;
    use crate::http::testing::TestApp;
    use crate::metrics::charts::STEP;

    const PATH: &str = "/api/v2/admin/charts";

    #[tokio::test]
    async fn charts_show_what_happened_in_each_step() {
        let app = TestApp::new().await;
        let (admin, ada) = (app.admin("root").await, app.user("ada").await);
        app.connected_backend("lab-1", 9).await;
        record(&app.app, Duration::ZERO).await;
        let id = app.running_instance(&ada, "web").await;
        app.request_instance(&ada, "build").await;
        let stop = format!("/api/v2/admin/instances/{id}/stop");
        let stopped = app.post(&stop, json!({})).token(&admin.token).header("prefer", "respond-async").send().await;
        assert_eq!(stopped.status, 202, "{stopped:?}");
        app.settle().await;
        record(&app.app, STEP).await;
        record(&app.app, STEP * 2).await;

        let answer = app.get(PATH).token(&admin.token).send().await;
        let (installation, replica) = (&answer.data()["installation"], &answer.data()["replica"]);
        assert_eq!((&answer.data()["range"], &answer.data()["stepSeconds"]), (&json!("hour"), &json!(10)));
        assert_eq!(installation["createsPerMinute"], json!([12.0, 0.0]), "two in ten seconds");
        assert_eq!(installation["stopsPerMinute"], json!([6.0, 0.0]), "by whomever");
        assert_eq!(installation["deletesPerMinute"], json!([0.0, 0.0]));
        assert_eq!(installation["machines"], json!([1.0, 1.0]));
        assert_eq!(installation["running"], json!([null, null]), "nobody has counted them");
        assert_eq!(replica["requestsPerSecond"], json!([0.3, 0.0]));
        assert!(replica["p99Seconds"][0].as_f64() > Some(0.0) && replica["p99Seconds"][1].is_null(), "{replica}");
        assert!(replica["memoryBytes"][0].as_f64() > Some(1e6), "{replica}");
        let times: Vec<i64> = serde_json::from_value(answer.data()["times"].clone()).unwrap();
        assert_eq!(times[1] - times[0], 10);

        let day = app.get(&format!("{PATH}?range=day")).token(&admin.token).send().await;
        assert_eq!((&day.data()["stepSeconds"], &day.data()["times"]), (&json!(120), &json!([])));
        let year = app.get(&format!("{PATH}?range=year")).token(&admin.token).send().await;
        assert_eq!(year.error(), (422, "validation_failed"));
    }
}

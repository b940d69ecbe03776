//! Invented figures for the charts of administrators.

use dockhost_dashboard::admin::charts::Charts;
use serde_json::{Value, json};

use crate::{Failure, read};

/// The moment of the last figure, in seconds since 1970.
const END: u32 = 1_795_507_215;
/// Seconds between two figures.
const STEP: u32 = 10;

/// The charts of a server with so many figures.
pub fn charts(count: u32) -> Result<Charts, Failure> {
    let column = |figure: &dyn Fn(f64) -> f64| -> Vec<f64> { (0..count).map(|step| figure(f64::from(step))).collect() };
    let wave = |level: f64, swing: f64, length: f64| {
        move |step: f64| (level + swing * (step / length).sin() + swing * (step / length * 3.7).cos() / 3.0).max(0.0)
    };
    let times: Vec<u32> = (0..count).map(|step| END - STEP * (count - 1 - step)).collect();
    // The number of running instances is unknown for some minutes.
    let running: Vec<Value> = (0..count)
        .map(|step| if (90..120).contains(&step) { Value::Null } else { json!(210 + step / 3 - step % 7) })
        .collect();
    let figures = json!({
        "range": "hour", "stepSeconds": STEP, "startedAt": "2026-11-24T08:00:15.000Z", "times": times,
        "installation": {
            "createsPerMinute": column(&wave(14.0, 9.0, 21.0)), "stopsPerMinute": column(&wave(6.0, 5.0, 34.0)),
            "deletesPerMinute": column(&wave(3.0, 4.0, 13.0)), "running": running,
            "machines": column(&|step| if (200.0..215.0).contains(&step) { 5.0 } else { 7.0 }),
            "lagSeconds": column(&|step| (step % 90.0 - 86.0).max(0.0)),
        },
        "replica": {
            "requestsPerSecond": column(&wave(180.0, 60.0, 40.0)), "p50Seconds": column(&wave(0.0021, 0.0004, 17.0)),
            "p99Seconds": column(&wave(0.05, 0.03, 29.0)), "memoryBytes": column(&wave(61e6, 4e6, 60.0)),
        },
    });
    Ok(Charts { figures: read(figures)? })
}

//! An honest user, who creates and deletes one instance after the other.

use std::time::{Duration, Instant};

use dockhost_harness::http::Client;
use serde_json::json;

/// The pause between a delete and the next create.
const PAUSE: Duration = Duration::from_millis(100);

/// What the user saw.
#[derive(Debug, Default)]
pub struct Creates {
    /// How long each create took that ended with a running instance.
    pub took: Vec<Duration>,
    /// The answers of the others.
    pub failed: Vec<String>,
}

impl Creates {
    /// The time within which this share of the creates succeeded; `None` if there were none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (last as f64 * share).ceil() as usize;
        Some(sorted[index.min(last)])
    }

    /// [`Self::quantile`] in milliseconds; 0 if there were none.
    #[must_use]
    pub fn millis(&self, share: f64) -> f64 {
        self.quantile(share).unwrap_or_default().as_secs_f64() * 1000.0
    }
}

/// Creates until `end`, and at least `least` times.
pub async fn create_until(user: &Client, end: Instant, least: usize) -> Creates {
    let mut creates = Creates::default();
    while Instant::now() < end || creates.took.len() + creates.failed.len() < least {
        let start = Instant::now();
        let answer = user.create().await;
        match answer.data()["instanceId"].as_str() {
            Some(id) if answer.status == 201 => {
                creates.took.push(start.elapsed());
                let deleted = user.delete("/api/v2/user/instance", json!({ "instanceId": id })).await;
                assert!(deleted.status < 500, "{deleted:?}");
            }
            _ => creates.failed.push(format!("{} {}", answer.status, answer.body)),
        }
        tokio::time::sleep(PAUSE).await;
    }
    creates
}

//! A read model as the next release would have it, for tests of rolling upgrades with real programs.
//!
//! Only with the feature `testing`. `PROJECTIONS_TEST_NEXT_FOLD` names a model: its fold version is one higher, and its
//! stored form has a new member. `PROJECTIONS_TEST_BUILD_SECONDS` delays the switch of a rebuild.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the model has its next version.
pub(super) fn is_next(model: &str) -> bool {
    static MODEL: OnceLock<Option<String>> = OnceLock::new();
    MODEL.get_or_init(|| variable("PROJECTIONS_TEST_NEXT_FOLD")).as_deref() == Some(model)
}

/// Adds the new member to a document.
pub(super) fn add_member(form: &mut Value) {
    form["addedByTheNextVersion"] = Value::from(true);
}

/// How long a rebuild waits before its switch.
pub(crate) fn delay_before_switch() -> Duration {
    let seconds = variable("PROJECTIONS_TEST_BUILD_SECONDS").and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

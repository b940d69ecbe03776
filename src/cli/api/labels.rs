//! Labels as arguments.

use dockhost_domain::labels::Label;
use serde_json::Value;

/// The labels as the API has them. Of several with one name, the last counts.
pub fn object(labels: Vec<Label>) -> Value {
    labels.into_iter().map(|Label { key, value }| (String::from(key), Value::from(String::from(value)))).collect()
}

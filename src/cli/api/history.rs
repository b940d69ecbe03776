//! What happened to an instance.

use serde_json::Value;

use super::client::Client;

/// Prints the history at this path.
///
/// # Errors
/// [`Failure`](super::client::Failure).
pub async fn print(client: &Client, path: &str) -> anyhow::Result<()> {
    let mut steps = client.list(path, &[]).await?;
    for step in &mut steps {
        step["summary"] = summary(&step["changes"]).into();
    }
    client.print_list(
        &steps,
        &[
            ("TIME", "/time"),
            ("EVENT", "/type"),
            ("ACTOR", "/actor/kind"),
            ("NAME", "/actor/name"),
            ("CAUSE", "/cause"),
            ("CHANGES", "/summary"),
        ],
    )
}

/// The changes in one line: `status creating → running`.
fn summary(changes: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let changes = changes.as_array().into_iter().flatten();
    let change = |change: &Value| {
        format!("{} {} → {}", text(&change["member"]), text(&change["before"]), text(&change["after"]))
    };
    changes.map(change).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn summary_has_each_change_with_its_values() {
        let changes = json!([
            { "member": "sshPort", "before": null, "after": 20_000 },
            { "member": "status", "before": "creating", "after": "running" },
        ]);
        assert_eq!(super::summary(&changes), "sshPort - → 20000, status creating → running");
        assert_eq!(super::summary(&json!([])), "");
    }
}

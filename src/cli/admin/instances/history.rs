//! `dockhost admin instances history`.

use clap::Args;
use serde_json::Value;

use crate::cli::admin::client::{ApiArgs, Client};

/// The arguments of `admin instances history`.
#[derive(Debug, Args)]
pub struct History {
    /// The instance's id.
    #[arg(value_name = "INSTANCE")]
    instance: uuid::Uuid,
    #[command(flatten)]
    api: ApiArgs,
}

impl History {
    /// Shows what happened to the instance.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::admin::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let mut steps = client.list(&format!("admin/instances/{}/history", self.instance), &[]).await?;
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

//! The settings of an instance as arguments: what is absent stays as it is.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::limit;

/// What happens to an instance if its backend is lost.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnLost {
    /// It waits for its backend.
    Wait,
    /// It is created again elsewhere, without its files.
    Recreate,
}

/// The settings to change, at least one.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Settings {
    /// Its new name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What happens if its machine is lost.
    #[arg(long, value_name = "WHAT")]
    on_lost: Option<OnLost>,
    /// When it is stopped, for example 2027-07-15T18:00:00Z; `none` for never.
    #[arg(long, value_name = "TIME", value_parser = limit::time)]
    expires_at: Option<Value>,
    /// After how many minutes without an SSH connection it is stopped; `none` for never.
    #[arg(long, value_name = "MINUTES", value_parser = limit::whole)]
    autostop: Option<Value>,
}

impl Settings {
    /// The members of the request.
    pub fn body(self) -> Map<String, Value> {
        let on_lost = self.on_lost.map(|on_lost| match on_lost {
            OnLost::Wait => "wait".into(),
            OnLost::Recreate => "recreate".into(),
        });
        let members = [
            ("name", self.name.map(Value::from)),
            ("onLost", on_lost),
            ("expiresAt", self.expires_at),
            ("autostopMinutes", self.autostop),
        ];
        members.into_iter().filter_map(|(member, value)| Some((member.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        settings: Settings,
    }

    fn body(arguments: &[&str]) -> Option<Value> {
        let command = Command::try_parse_from([&["change"], arguments].concat()).ok()?;
        Some(command.settings.body().into())
    }

    #[test]
    fn settings_have_what_is_given_only() {
        assert_eq!(body(&["--name", "shop"]), Some(json!({ "name": "shop" })));
        let all = ["--on-lost", "recreate", "--expires-at", "none", "--autostop", "60"];
        assert_eq!(body(&all), Some(json!({ "onLost": "recreate", "expiresAt": null, "autostopMinutes": 60 })));
        let time = "2027-07-15T18:00:00Z";
        assert_eq!(body(&["--expires-at", time]), Some(json!({ "expiresAt": time })));
        for invalid in [&[][..], &["--on-lost", "move"], &["--autostop", "soon"], &["--expires-at", "soon"]] {
            assert_eq!(body(invalid), None, "{invalid:?}");
        }
    }
}

//! The settings of the server that answers.

use askama::Template;
use serde::Deserialize;

use super::{Chip, List};
use crate::pages::Frame;

/// A setting.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// Its variable.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// Its value, unless it has none or is a secret.
    pub value: Option<String>,
    /// `default`, `environment` or `argument`.
    pub source: String,
    /// Whether its value is hidden.
    pub is_secret: bool,
    /// Whether it has a value.
    pub is_set: bool,
}

impl Setting {
    /// Its value in words.
    #[must_use]
    pub fn shown(&self) -> &str {
        match (&self.value, self.is_secret, self.is_set) {
            (_, true, true) => "set",
            (Some(value), false, _) => value,
            _ => "not set",
        }
    }

    /// Where its value comes from, in words.
    #[must_use]
    pub fn origin(&self) -> &str {
        match self.source.as_str() {
            "argument" => "command line",
            other => other,
        }
    }

    /// Whether its value was set and is not the default.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.source != "default"
    }
}

/// `/admin/settings`.
#[derive(Debug, Template)]
#[template(path = "admin/settings.html")]
pub struct SettingsPage {
    /// The frame.
    pub frame: Frame,
    /// The settings.
    pub settings: List<Setting>,
    /// Which of them can be chosen.
    pub chips: Vec<Chip>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn setting_that_is_secret_says_only_whether_it_is_set() {
        let shown = |value: Option<&str>, is_secret: bool, is_set: bool| {
            let setting: Setting = serde_json::from_value(json!({
                "name": "X", "about": "", "value": value, "source": "argument", "isSecret": is_secret, "isSet": is_set,
            }))
            .unwrap();
            assert_eq!((setting.origin(), setting.is_chosen()), ("command line", true));
            setting.shown().to_owned()
        };
        // The API sends no value of a secret; the page would not show it either.
        assert_eq!((shown(Some("secret"), true, true), shown(None, true, false)), ("set".into(), "not set".into()));
        assert_eq!((shown(Some("7"), false, true), shown(None, false, false)), ("7".into(), "not set".into()));
    }
}

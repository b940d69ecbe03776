//! Labels: what an administrator says about a machine, such as `gpu=yes` or `room=b12`, and what an instance requires of
//! its machine. They are in events unsealed, so they must not say anything about a person.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a label: 1 to 63 characters `a-z0-9._-`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelKey(String);

/// The value of a label: 1 to 63 characters `A-Za-z0-9._-`, beginning with a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelValue(String);

/// A text is not a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabel {
    /// The name is invalid.
    #[error("the name of a label must be 1 to 63 characters a-z, 0-9, '.', '_' and '-', beginning with a letter")]
    Key,
    /// The value is invalid.
    #[error(
        "the value of a label must be 1 to 63 characters A-Z, a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit"
    )]
    Value,
    /// There is no `=`.
    #[error("a label must be of the form name=value")]
    Form,
    /// There are too many.
    #[error("must be at most {} labels", Labels::MAX)]
    TooMany,
}

fn is_text(text: &str, is_first: fn(char) -> bool, is_other: fn(char) -> bool) -> bool {
    let mut chars = text.chars();
    text.len() <= 63 && chars.next().is_some_and(is_first) && chars.all(|c| is_other(c) || matches!(c, '.' | '_' | '-'))
}

impl FromStr for LabelKey {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let is_valid = is_text(text, |c| c.is_ascii_lowercase(), |c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidLabel::Key) }
    }
}

impl FromStr for LabelValue {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let is_valid = is_text(text, |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric());
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidLabel::Value) }
    }
}

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidLabel;
            fn try_from(text: String) -> Result<Self, InvalidLabel> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

text!(LabelKey);
text!(LabelValue);

/// One label, as text `name=value`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// Its name.
    pub key: LabelKey,
    /// Its value.
    pub value: LabelValue,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let (key, value) = text.split_once('=').ok_or(InvalidLabel::Form)?;
        Ok(Self { key: key.parse()?, value: value.parse()? })
    }
}

/// Labels with different names; in JSON an object such as `{"gpu": "yes"}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<LabelKey, LabelValue>", into = "BTreeMap<LabelKey, LabelValue>")]
pub struct Labels(BTreeMap<LabelKey, LabelValue>);

impl Labels {
    /// The most labels of a machine, and of an instance.
    pub const MAX: usize = 32;

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels, by name.
    pub fn iter(&self) -> impl Iterator<Item = Label> {
        self.0.iter().map(|(key, value)| Label { key: key.clone(), value: value.clone() })
    }

    /// The first of these labels that the other ones lack, or have with another value.
    #[must_use]
    pub fn first_missing_in(&self, others: &Self) -> Option<Label> {
        self.iter().find(|label| others.0.get(&label.key) != Some(&label.value))
    }
}

impl TryFrom<BTreeMap<LabelKey, LabelValue>> for Labels {
    type Error = InvalidLabel;

    fn try_from(labels: BTreeMap<LabelKey, LabelValue>) -> Result<Self, InvalidLabel> {
        if labels.len() > Self::MAX { Err(InvalidLabel::TooMany) } else { Ok(Self(labels)) }
    }
}

impl From<Labels> for BTreeMap<LabelKey, LabelValue> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_text_is_a_name_and_a_value() {
        for text in ["gpu=yes", "room=b12", "dockhost.example/no=1", "a=1", "a.b_c-d=1.2_3-4", "zone=EU"] {
            let parsed = text.parse::<Label>().map(|label| label.to_string());
            assert_eq!(parsed.ok().as_deref(), (!text.contains('/')).then_some(text));
        }
        let long = "a".repeat(64);
        for (text, error) in [
            ("gpu", InvalidLabel::Form),
            ("=yes", InvalidLabel::Key),
            ("Gpu=yes", InvalidLabel::Key),
            ("1=yes", InvalidLabel::Key),
            (&format!("{long}=yes"), InvalidLabel::Key),
            ("gpu=", InvalidLabel::Value),
            ("gpu=-", InvalidLabel::Value),
            ("gpu=a b", InvalidLabel::Value),
            ("gpu=yes=no", InvalidLabel::Value),
            (&format!("gpu={long}"), InvalidLabel::Value),
        ] {
            assert_eq!(text.parse::<Label>(), Err(error), "{text}");
        }
    }

    #[test]
    fn labels_in_json_are_an_object_of_valid_texts() {
        let parse = |value| serde_json::from_value::<Labels>(value);
        let labels = parse(json!({ "room": "b12", "gpu": "yes" })).unwrap();
        assert_eq!(labels.iter().map(|label| label.to_string()).collect::<Vec<_>>(), ["gpu=yes", "room=b12"]);
        assert_eq!(serde_json::to_value(&labels).unwrap(), json!({ "gpu": "yes", "room": "b12" }));
        let many: BTreeMap<String, &str> = (0..33).map(|n| (format!("l{n}"), "1")).collect();
        for wrong in
            [json!({ "gpu": 1 }), json!({ "Gpu": "yes" }), json!({ "gpu": "" }), json!(["gpu=yes"]), json!(many)]
        {
            assert!(parse(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_missing_are_those_without_the_same_value() {
        let labels = |value| serde_json::from_value::<Labels>(value).unwrap();
        let machine = labels(json!({ "gpu": "yes", "room": "b12" }));
        let missing = |required| labels(required).first_missing_in(&machine).map(|label| label.to_string());
        assert_eq!(missing(json!({})), None);
        assert_eq!(missing(json!({ "gpu": "yes" })), None);
        assert_eq!(missing(json!({ "gpu": "yes", "room": "b13" })).as_deref(), Some("room=b13"));
        assert_eq!(missing(json!({ "disk": "fast" })).as_deref(), Some("disk=fast"));
    }
}

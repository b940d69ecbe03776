//! What a backend says about a container.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Invalid, text_type};

/// The id of a container in its runtime: `[A-Za-z0-9_.-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

text_type!(ContainerId);

impl std::ops::Deref for ContainerId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let valid =
            (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if valid { Ok(Self(text.to_owned())) } else { Err(Invalid("is not 1 to 128 letters, digits, _, . and -")) }
    }
}

/// The SHA-256 fingerprint of an SSH host key, as `ssh-keygen -l` prints it: `SHA256:` and 43 characters of base64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostKey(String);

text_type!(HostKey);

impl FromStr for HostKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digest = text.strip_prefix("SHA256:").unwrap_or_default();
        let valid = digest.len() == 43 && digest.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b));
        if valid { Ok(Self(text.to_owned())) } else { Err(Invalid("is not SHA256: and 43 characters of base64")) }
    }
}

/// At most eight host keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<HostKey>", into = "Vec<HostKey>")]
pub struct HostKeys(Vec<HostKey>);

impl HostKeys {
    /// The most keys. A server has one for each algorithm.
    pub const MAX: usize = 8;

    /// The first valid ones of these texts.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(texts.into_iter().filter_map(|text| text.parse().ok()).take(Self::MAX).collect())
    }

    /// The keys.
    #[must_use]
    pub fn as_slice(&self) -> &[HostKey] {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<HostKey>> for HostKeys {
    type Error = Invalid;

    fn try_from(keys: Vec<HostKey>) -> Result<Self, Invalid> {
        if keys.len() > Self::MAX { Err(Invalid("are more than 8")) } else { Ok(Self(keys)) }
    }
}

impl From<HostKeys> for Vec<HostKey> {
    fn from(keys: HostKeys) -> Self {
        keys.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SHA256:mVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE";

    #[test]
    fn container_id_of_any_other_form_is_rejected() {
        for text in ["3f4e1c9a7b52", "dockhost_1-a.b", &"f".repeat(128)] {
            assert_eq!(text.parse::<ContainerId>().unwrap().as_str(), text);
        }
        for text in ["", "a b", "../etc", "a\u{0}", "a\nb", "ä", &"f".repeat(129)] {
            assert!(text.parse::<ContainerId>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn host_key_of_any_other_form_is_rejected() {
        assert_eq!(KEY.parse::<HostKey>().unwrap().as_str(), KEY);
        for text in ["", "SHA256:", &KEY[1..], &KEY[..49], &format!("{KEY}="), &KEY.replace('/', "_"), "MD5:00:11"] {
            assert!(text.parse::<HostKey>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn host_keys_more_than_eight_are_rejected() {
        let json = |n: usize| serde_json::to_value(vec![KEY; n]).unwrap();
        assert_eq!(serde_json::from_value::<HostKeys>(json(8)).unwrap().as_slice().len(), 8);
        assert!(serde_json::from_value::<HostKeys>(json(9)).is_err());
        assert_eq!(HostKeys::of(["x", KEY, "SHA256:abc"]).as_slice(), [KEY.parse().unwrap()]);
        assert_eq!(HostKeys::of([KEY; 9]).as_slice().len(), 8);
    }
}

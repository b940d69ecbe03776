//! The URL of a webhook.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is no URL of a webhook; the text is for the user who entered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUrl(&'static str);

/// An absolute `https` or `http` URL of at most 2048 characters of ASCII, without user name, password and fragment. Whether
/// its host exists and may be called is known at each delivery only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl(String);

impl WebhookUrl {
    /// The most characters.
    pub const MAX_CHARS: usize = 2048;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether deliveries are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl FromStr for WebhookUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.ok_or(InvalidUrl("must begin with https:// or http://"))?;
        if text.len() > Self::MAX_CHARS {
            return Err(InvalidUrl("must be at most 2048 characters long"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'<' | b'>')) {
            return Err(InvalidUrl("must contain only the characters of a URL; encode others with %"));
        }
        if text.contains('#') {
            return Err(InvalidUrl("must not have a fragment, which is never sent"));
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(InvalidUrl("must not contain a user name or a password"));
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err(InvalidUrl("must have a host"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = InvalidUrl;

    fn try_from(text: String) -> Result<Self, InvalidUrl> {
        text.parse()
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        url.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_url_is_http_with_a_host_and_without_credentials_or_fragment() {
        for valid in ["https://example.org", "http://10.0.0.1:8080/a?b=c", "https://[2001:db8::1]/hook"] {
            assert_eq!(valid.parse::<WebhookUrl>().unwrap().as_str(), valid);
        }
        let long = format!("https://example.org/{}", "a".repeat(WebhookUrl::MAX_CHARS));
        for invalid in [
            "",
            "example.org",
            "ftp://example.org",
            "HTTPS://example.org",
            "https://",
            "https:///path",
            "https://:443/",
            "https://ada:secret@example.org/",
            "https://example.org/#part",
            "https://example.org/a b",
            "https://example.org\\@evil.example",
            "https://exämple.org/",
            "https://example.org/\n",
            &long,
        ] {
            assert!(invalid.parse::<WebhookUrl>().is_err(), "{invalid:?} was accepted");
        }
    }
}

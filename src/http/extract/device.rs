//! What a client says it is, for the list of a user's sessions.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use dockhost_domain::reported::ShortText;
use dockhost_domain::session::SessionClient;

use super::ClientAddress;
use crate::http::app::App;

/// Enough for the names and versions of browser and system.
const MAX_CHARS: usize = 120;

/// The beginning of `User-Agent`, without control characters.
#[derive(Debug, Clone)]
pub struct Device(Option<ShortText>);

impl Device {
    fn of(user_agent: &str) -> Self {
        let beginning: String = user_agent.trim().chars().take(MAX_CHARS).collect();
        Self((!beginning.is_empty()).then(|| ShortText::cleaned(&beginning)))
    }

    /// This device at an address.
    pub fn at(self, address: ClientAddress) -> SessionClient {
        let address = ShortText::cleaned(&address.to_string()).into();
        SessionClient { address, device: self.0.map(Into::into) }
    }
}

impl FromRequestParts<Arc<App>> for Device {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _app: &Arc<App>) -> Result<Self, Infallible> {
        let user_agent = parts.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        Ok(Self::of(&user_agent.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_is_the_beginning_of_the_user_agent() {
        let text = |user_agent: &str| Device::of(user_agent).0.map(|text| text.to_string());
        assert_eq!(text("curl/8.5.0").as_deref(), Some("curl/8.5.0"));
        assert_eq!(text(" "), None);
        assert_eq!(text(&"ä".repeat(1000)).unwrap().chars().count(), MAX_CHARS);
        assert!(!text("a\u{1b}[31m\tb").unwrap().contains('\u{1b}'));
    }
}

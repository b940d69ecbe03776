//! The sessions of everybody.

use askama::Template;
use serde::Deserialize;

use super::List;
use crate::moment::Moment;
use crate::pages::Frame;

/// A session of anybody, or an API token.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnySession {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: SessionOwner,
    /// Whether it is an API token.
    pub is_token: bool,
    /// When it began.
    pub started_at: Moment,
    /// When it ends by itself.
    pub expires_at: Moment,
}

/// Whose a session is.
#[derive(Debug, Clone, Deserialize)]
pub struct SessionOwner {
    /// `user` or `backend`.
    pub kind: String,
    /// Their id.
    pub id: String,
    /// Their name, unless it was erased.
    pub username: Option<String>,
}

impl SessionOwner {
    /// Their name, or their id.
    #[must_use]
    pub fn title(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.id)
    }

    /// Whether it is a machine.
    #[must_use]
    pub fn is_machine(&self) -> bool {
        self.kind == "backend"
    }

    /// Their page.
    #[must_use]
    pub fn address(&self) -> String {
        let kind = if self.is_machine() { "machines" } else { "people" };
        format!("/admin/{kind}/{}", self.id)
    }
}

/// The sessions that were looked for.
#[derive(Debug, Template)]
#[template(path = "admin/parts/sessions.html")]
pub struct AllSessions {
    /// The sessions; an error in words if they could not be read.
    pub sessions: Result<List<AnySession>, String>,
    /// What was looked for: the query of the address.
    pub query: String,
    /// The address of the next page, if there is one.
    pub next: Option<String>,
}

/// `/admin/sessions`.
#[derive(Debug, Template)]
#[template(path = "admin/sessions.html")]
pub struct AllSessionsPage {
    /// The frame.
    pub frame: Frame,
    /// The sessions.
    pub list: AllSessions,
    /// Whether only those of one person or machine are shown.
    pub is_narrowed: bool,
}

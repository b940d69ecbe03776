//! The parts of pages that change while a page is open. Each is fetched again from its own address.

use askama::Template;

use crate::account::{Account, ApiToken, Session};
use crate::compare::Member;
use crate::instance::Instance;
use crate::moment::Moment;
use crate::timeline::History;

/// The caller's instances.
#[derive(Debug, Template)]
#[template(path = "parts/instances.html")]
pub struct InstanceList {
    /// The instances; an error in words if they could not be read.
    pub instances: Result<Vec<Instance>, String>,
    /// How many they may have.
    pub max_instances: Option<u32>,
}

impl InstanceList {
    fn limit(&self) -> String {
        let count = self.instances.as_ref().map_or(0, Vec::len);
        match self.max_instances {
            Some(max) => format!("{count} of {max}"),
            None => count.to_string(),
        }
    }
}

/// The caller's profile.
#[derive(Debug, Template)]
#[template(path = "parts/profile.html")]
pub struct Profile {
    /// The account; an error in words if it could not be read.
    pub account: Result<Account, String>,
}

/// The caller's sessions.
#[derive(Debug, Template)]
#[template(path = "parts/sessions.html")]
pub struct SessionList {
    /// The sessions; an error in words if they could not be read.
    pub sessions: Result<Vec<Session>, String>,
}

impl SessionList {
    fn has_others(&self) -> bool {
        self.sessions.as_ref().is_ok_and(|sessions| sessions.iter().any(|session| !session.is_current))
    }
}

/// The caller's API tokens.
#[derive(Debug, Template)]
#[template(path = "parts/tokens.html")]
pub struct TokenList {
    /// The tokens; an error in words if they could not be read.
    pub tokens: Result<Vec<ApiToken>, String>,
}

/// An instance as it was, beside now.
#[derive(Debug, Template)]
#[template(path = "parts/then.html")]
pub struct Then {
    /// What it consists of; an error in words if that could not be read.
    pub members: Result<Vec<Member>, String>,
}

/// One instance with what its owner can do.
#[derive(Debug, Template)]
#[template(path = "parts/instance.html")]
pub struct InstanceDetail {
    /// The instance; none once it is deleted.
    pub instance: Option<Instance>,
    /// Its id.
    pub id: String,
    /// The SSH keys of its owner.
    pub keys: Vec<SshKey>,
    /// What happened to it, the last event first; an error in words if that could not be read.
    pub history: Result<History, String>,
}

/// The caller's SSH keys.
#[derive(Debug, Template)]
#[template(path = "parts/keys.html")]
pub struct KeyList {
    /// The keys; an error in words if they could not be read.
    pub keys: Result<Vec<SshKey>, String>,
}

/// An SSH key of the account.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshKey {
    /// Its id.
    pub id: String,
    /// Its name; `default` is the one of the profile.
    pub name: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// When it was added; none for the default key.
    pub added_at: Option<Moment>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_that_could_not_be_read_says_why_and_offers_another_attempt() {
        let part = KeyList { keys: Err("the database is <unreachable>".to_owned()) }.render().unwrap();
        let expected = concat!(
            r#"<div class="empty-state" role="alert"><h2>Your keys can't be shown now</h2>"#,
            "<p>the database is &#60;unreachable&#62;</p>",
            r#"<div class="actions"><button type="button" class="btn" data-variant="outline" data-do="refresh">"#,
            "Try again</button></div></div>\n",
        );
        assert!(part.starts_with("<section") && part.contains(expected), "{part}");
    }
}

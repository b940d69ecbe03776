//! The enrolment tokens of all administrators: one aggregate, so that two machines can't use the same token, and a list
//! of them needs no read model.
//!
//! A token itself is in no event: only its hash is. Tokens that are over are forgotten after a while, so the state stays
//! small.

mod decide;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::{BackendId, EnrolmentTokenId, UserId};
use crate::labels::Labels;
use crate::subject::{AggregateId, AllEnrolmentTokens};
use crate::timestamp::Timestamp;

pub use decide::{CreateToken, RevokeRejected, RevokeToken, TokenInvalid, TooManyTokens, UseToken};

/// How long a token stays in the list after it expired, in event time.
pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most tokens that are valid at the same time.
pub const MAX_VALID: usize = 1000;

/// The events of the enrolment tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum EnrolmentTokensEvent {
    /// An administrator made a token.
    #[serde(rename = "dockhost.enrolment-token.created.v1")]
    Created(TokenCreated),
    /// A machine was registered with it, in one batch with the machine's events.
    #[serde(rename = "dockhost.enrolment-token.used.v1")]
    Used(TokenUsed),
    /// An administrator revoked it.
    #[serde(rename = "dockhost.enrolment-token.revoked.v1")]
    Revoked(TokenRevoked),
}

/// The hash of a token. A token is long and random, so that its hash can't be reversed by trying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

impl TokenHash {
    /// Of the token's SHA-256.
    #[must_use]
    pub fn from_digest(digest: [u8; 32]) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(64);
        for byte in digest {
            // A `String` takes everything.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }
}

/// An administrator made a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenCreated {
    /// The token's id.
    pub token_id: EnrolmentTokenId,
    /// Hex of the SHA-256 of the token.
    pub hash: TokenHash,
    /// Who made it.
    pub by: UserId,
    /// Until when it can be used.
    pub expires_at: Timestamp,
    /// The capacity of the machine that is registered with it; what the machine asks for if absent.
    pub max_containers: Option<u32>,
    /// The labels of that machine.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// A machine was registered with a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenUsed {
    /// The token's id.
    pub token_id: EnrolmentTokenId,
    /// The machine.
    pub backend_id: BackendId,
}

/// An administrator revoked a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRevoked {
    /// The token's id.
    pub token_id: EnrolmentTokenId,
}

/// The tokens that are not forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrolmentTokens {
    tokens: BTreeMap<EnrolmentTokenId, EnrolmentToken>,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrolmentToken {
    /// The hash of the token.
    pub hash: TokenHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: UserId,
    /// Until when it can be used.
    pub expires_at: Timestamp,
    /// The capacity of the machine that is registered with it; what the machine asks for if absent.
    pub max_containers: Option<u32>,
    /// The labels of that machine.
    #[serde(default)]
    pub labels: Labels,
    /// Whether it was used or revoked.
    pub end: Option<TokenEnd>,
}

/// How a token ended before it expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum TokenEnd {
    /// A machine was registered with it.
    Used {
        /// The machine.
        backend_id: BackendId,
        /// When.
        at: Timestamp,
    },
    /// An administrator revoked it.
    Revoked {
        /// When.
        at: Timestamp,
    },
}

impl EnrolmentToken {
    /// Whether it can be used.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.end.is_none() && now < self.expires_at
    }
}

impl EnrolmentTokens {
    /// The tokens, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (EnrolmentTokenId, &EnrolmentToken)> {
        self.tokens.iter().map(|(id, token)| (*id, token))
    }

    /// A token by its id.
    #[must_use]
    pub fn get(&self, id: EnrolmentTokenId) -> Option<&EnrolmentToken> {
        self.tokens.get(&id)
    }

    /// The valid token with this hash.
    #[must_use]
    pub fn find_valid(&self, hash: &TokenHash, now: Timestamp) -> Option<(EnrolmentTokenId, &EnrolmentToken)> {
        self.iter().find(|(_, token)| token.hash == *hash && token.is_valid(now))
    }
}

impl Aggregate for EnrolmentTokens {
    type Id = AllEnrolmentTokens;
    type Event = EnrolmentTokensEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &[
        "e59abf0cc34da7666b48a8fddadb658af4702958e0e11008f8c4c6d949e34ce3",
        "c0aa05880de161727d29cc01912677cc6e9017fd303cfee4dd15e3b95b2b8399",
    ];

    fn subject(id: AllEnrolmentTokens) -> AggregateId {
        AggregateId::EnrolmentTokens(id)
    }

    fn event(event: &Event) -> Option<&EnrolmentTokensEvent> {
        if let Event::EnrolmentTokens(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &EnrolmentTokensEvent, meta: &Meta) {
        self.tokens.retain(|_, token| meta.time.since(token.expires_at) < RETENTION);
        let mut end = |id, end| {
            if let Some(token) = self.tokens.get_mut(&id) {
                token.end = Some(end);
            }
        };
        match event {
            EnrolmentTokensEvent::Created(created) => {
                let token = EnrolmentToken {
                    hash: created.hash.clone(),
                    created_at: meta.time,
                    created_by: created.by,
                    expires_at: created.expires_at,
                    max_containers: created.max_containers,
                    labels: created.labels.clone(),
                    end: None,
                };
                self.tokens.insert(created.token_id, token);
            }
            EnrolmentTokensEvent::Used(used) => {
                end(used.token_id, TokenEnd::Used { backend_id: used.backend_id, at: meta.time });
            }
            EnrolmentTokensEvent::Revoked(revoked) => end(revoked.token_id, TokenEnd::Revoked { at: meta.time }),
        }
    }
}

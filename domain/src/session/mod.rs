//! The sessions of a principal: sign-ins, and the API tokens that a user makes.

mod decide;
mod refresh;
mod suspend;
mod token;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::{PrincipalId, SessionId};
use crate::personal::Personal;
use crate::reported::ShortText;
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

pub use decide::{CloseSessions, EndSessions, RevokeSession, StartRejected, StartSession};
pub use refresh::{GRACE, InvalidRefreshToken, MAX_AGE, MAX_IDLE, RefreshSession, RefreshToken, Refreshed, idle_end};
pub use suspend::{ResumeSessions, SuspendSessions};
pub use token::{
    ApiToken, CreateToken, CreateTokenRejected, MAX_TOKENS, NoSuchToken, RevokeToken, Scope, TokenDetails,
};

/// The events of a principal's sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum SessionEvent {
    /// The principal signed in, or made an API token.
    #[serde(rename = "dockhost.session.started.v1")]
    Started(Started),
    /// The client of a session used its refresh token, which is spent, and has the next one.
    #[serde(rename = "dockhost.session.refreshed.v1")]
    Refreshed(Refreshed),
    /// The principal signed out, or one session ended for the reason in it.
    #[serde(rename = "dockhost.session.revoked.v1")]
    Revoked(Revoked),
    /// Several sessions ended at once, because the principal, or an administrator, ended them.
    #[serde(rename = "dockhost.session.ended.v1")]
    Ended(Ended),
    /// The account was disabled: all sessions end, and no new one can start until it is enabled again.
    #[serde(rename = "dockhost.session.suspended.v1")]
    Suspended(Suspended),
    /// The account was enabled: sessions can start again.
    #[serde(rename = "dockhost.session.resumed.v1")]
    Resumed(Resumed),
    /// The principal was erased: all sessions end, and no new one can start.
    #[serde(rename = "dockhost.session.closed.v1")]
    Closed(Closed),
}

/// The principal signed in, or made an API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The new session.
    pub session_id: SessionId,
    /// When its token expires; if it has a refresh token, when it ends if it is not refreshed.
    pub expires_at: Timestamp,
    /// Of an API token only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenDetails>,
    /// Where a user signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<SessionClient>,
    /// If it has a refresh token: when it ends at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_until: Option<Timestamp>,
}

/// Where a user signed in, as far as the request tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionClient {
    /// The address, or the network of an IPv6 address.
    pub address: Personal<ShortText>,
    /// What the browser or the program says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Personal<ShortText>>,
}

/// One session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// The ended session.
    pub session_id: SessionId,
    /// Why, if nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
}

/// Why a session ended though nobody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// Somebody presented a refresh token that was spent, so it was copied.
    RefreshTokenReused,
}

/// Several sessions ended at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The ended sessions.
    pub session_ids: Vec<SessionId>,
}

/// The account was disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspended {
    /// The sessions that end. Of very many, only the first are named, but all end.
    pub session_ids: Vec<SessionId>,
}

/// The account was enabled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {}

/// The principal was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// The sessions that end.
    pub session_ids: Vec<SessionId>,
}

/// The live sessions. Expired ones are removed when the next one starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    live: BTreeMap<SessionId, Timestamp>,
    closed: bool,
    #[serde(default)]
    suspended: bool,
    /// Those of the live sessions that are API tokens.
    #[serde(default)]
    tokens: BTreeMap<SessionId, ApiToken>,
    /// Where the live sessions were started, as far as that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    clients: BTreeMap<SessionId, SessionClient>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_sign_in: Option<Timestamp>,
    /// The refresh tokens of those live sessions that have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    refresh_tokens: BTreeMap<SessionId, RefreshToken>,
}

/// What a live session may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything: the principal signed in.
    SignIn,
    /// What the scope of the API token includes.
    Token(Scope),
}

impl Sessions {
    /// What a token of this session may be used for; none if the session is not live.
    #[must_use]
    pub fn access(&self, session: SessionId, now: Timestamp) -> Option<Access> {
        let token = || self.tokens.get(&session).map_or(Access::SignIn, |token| Access::Token(token.details.scope));
        self.is_live(session, now).then(token)
    }

    /// Whether the session is an API token that has not ended.
    #[must_use]
    pub fn is_token(&self, session: SessionId) -> bool {
        self.tokens.contains_key(&session)
    }

    /// Where a live session was started; none if that is not known.
    #[must_use]
    pub fn client(&self, session: SessionId) -> Option<&SessionClient> {
        self.clients.get(&session)
    }

    /// The refresh token of a live session; none if it has none.
    #[must_use]
    pub fn refresh_token(&self, session: SessionId) -> Option<&RefreshToken> {
        self.refresh_tokens.get(&session)
    }

    /// The API tokens that are valid, the oldest first, and when they expire.
    pub fn tokens(&self, now: Timestamp) -> impl Iterator<Item = (SessionId, &ApiToken, Timestamp)> {
        let tokens = self.tokens.iter().filter_map(move |(id, token)| Some((*id, token, *self.live.get(id)?)));
        tokens.filter(move |(.., expires_at)| now < *expires_at)
    }

    /// Whether a token of this session is valid.
    #[must_use]
    pub fn is_live(&self, session: SessionId, now: Timestamp) -> bool {
        self.live.get(&session).is_some_and(|expires_at| now < *expires_at)
    }

    /// When a session that has not been ended expires; with a refresh token, if it is not refreshed.
    #[must_use]
    pub fn expires_at(&self, session: SessionId) -> Option<Timestamp> {
        self.live.get(&session).copied()
    }

    /// The sessions that have not been ended, also if their tokens have expired.
    pub fn ids(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.live.keys().copied()
    }

    /// When the principal signed in last; `None` if never, and once they are erased.
    #[must_use]
    pub const fn last_sign_in(&self) -> Option<Timestamp> {
        self.last_sign_in
    }

    /// Whether all sessions have ended for good.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }
}

impl Aggregate for Sessions {
    type Id = PrincipalId;
    type Event = SessionEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &[
        "b23191970bbcd9289a32ece1e96b7fb023f55fd89eda628c08babc1e12a6318d",
        "aa7b9df8bc3f58d64b8ab3294b96aa95d94e7165d6875d37b80e0af63b7ad0df",
        "b66dd114b33ef71381e83521710c4315f2bf1578f0b205281451e66a553e37d8",
        "77be7cdf1c4a051c8960310a41aee755115c67a3b3138d8ebd1b439687e54097",
        "eba7bf195af6e7bde65ff2a380c933eaabb382be3da023b20270182129914474",
        "fdc4ce2bc2ee33193f8241a9a2bf02762b4c520638e8a57ee733c443b1cd91f6",
        "0c5fceeffe25ce9a2f35112d0f14cce3e64660e935e6054a50bef3573a36a40c",
    ];

    fn subject(id: PrincipalId) -> AggregateId {
        AggregateId::Session(id)
    }

    fn event(event: &Event) -> Option<&SessionEvent> {
        if let Event::Session(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &SessionEvent, meta: &Meta) {
        match event {
            // `decide` rejects this, but a fold cannot fail.
            SessionEvent::Started(_) if self.closed || self.suspended => {}
            SessionEvent::Started(started) => {
                self.live.retain(|_, expires_at| meta.time < *expires_at);
                self.live.insert(started.session_id, started.expires_at);
                if let Some(client) = started.client.clone() {
                    self.clients.insert(started.session_id, client);
                }
                if let Some(until) = started.refresh_until {
                    let first = RefreshToken { until, number: 0, since: meta.time };
                    self.refresh_tokens.insert(started.session_id, first);
                }
                if let Some(details) = started.token.clone() {
                    self.tokens.insert(started.session_id, ApiToken { details, created_at: meta.time });
                } else {
                    self.last_sign_in = Some(meta.time);
                }
            }
            SessionEvent::Refreshed(Refreshed { session_id, token_number, expires_at }) => {
                if let (Some(live), Some(token)) =
                    (self.live.get_mut(session_id), self.refresh_tokens.get_mut(session_id))
                {
                    *live = *expires_at;
                    (token.number, token.since) = (*token_number, meta.time);
                }
            }
            SessionEvent::Revoked(revoked) => {
                self.live.remove(&revoked.session_id);
            }
            SessionEvent::Ended(ended) => {
                self.live.retain(|session, _| !ended.session_ids.contains(session));
            }
            SessionEvent::Closed(_) => *self = Self { closed: true, ..Self::default() },
            SessionEvent::Suspended(_) => {
                let (closed, last_sign_in) = (self.closed, self.last_sign_in);
                *self = Self { closed, suspended: !closed, last_sign_in, ..Self::default() };
            }
            SessionEvent::Resumed(_) => self.suspended = false,
        }
        self.tokens.retain(|session, _| self.live.contains_key(session));
        self.clients.retain(|session, _| self.live.contains_key(session));
        self.refresh_tokens.retain(|session, _| self.live.contains_key(session));
    }
}

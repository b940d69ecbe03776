//! The ids of polling sessions, with the name of the replica that has the session.
//!
//! A session that polls is many requests, which a balancer may send to any replica. So the id that a client gets is
//! `<id of the session>~<name of the replica>`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Between the id of the session and the replica's name. Neither has it.
const SEPARATOR: char = '~';
/// The type of the packet with which a session begins.
const OPEN: char = '0';

/// The name of a replica, in letters that need no escape in a URL or in a subject of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// The replica with this name.
    pub fn named(replica: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(replica))
    }

    /// The name in the letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The packet with which a session of this replica begins, with the name in its id; `None` for another packet.
    pub fn name_in(&self, packet: &str) -> Option<String> {
        let mut open: Value = serde_json::from_str(packet.strip_prefix(OPEN)?).ok()?;
        let id = open.get_mut("sid")?;
        *id = format!("{}{SEPARATOR}{}", id.as_str()?, self.0).into();
        Some(format!("{OPEN}{open}"))
    }
}

/// The session of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionId {
    /// The replica that has it.
    pub owner: Owner,
    /// The request's query, with the id as that replica knows it.
    pub query: String,
}

impl SessionId {
    /// The session that a query names; `None` if it names none. The owner of a malformed id is nobody.
    pub fn of(query: &str) -> Option<Self> {
        let mut owner = None;
        let parts = query.split('&').map(|part| match part.strip_prefix("sid=") {
            Some(id) => {
                // Some clients escape it.
                let id = id.replace("%7E", "~").replace("%7e", "~");
                let (id, name) = id.split_once(SEPARATOR).unwrap_or((&id, ""));
                let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
                owner = Some(Owner(if is_name { name.to_owned() } else { String::new() }));
                format!("sid={id}")
            }
            None => part.to_owned(),
        });
        let query = parts.collect::<Vec<_>>().join("&");
        owner.map(|owner| Self { owner, query })
    }

    /// Whether the id names a replica at all.
    pub fn has_owner(&self) -> bool {
        !self.owner.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: &str = r#"0{"maxPayload":100000,"sid":"AAAAAAAAAAAAAAHs","upgrades":["websocket"]}"#;

    #[test]
    fn session_id_names_its_replica_and_is_found_in_requests() {
        let owner = Owner::named("host.example:3001/7");
        let named = owner.name_in(PACKET).unwrap();
        let open: Value = serde_json::from_str(&named[1..]).unwrap();
        let id = open["sid"].as_str().unwrap();
        assert_ne!(id, "AAAAAAAAAAAAAAHs");
        assert_eq!(open["upgrades"][0], "websocket", "the rest is as it was");
        let expected = SessionId { owner, query: "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAHs&t=1".to_owned() };
        for id in [id.to_owned(), id.replace('~', "%7E")] {
            let found = SessionId::of(&format!("EIO=4&transport=polling&sid={id}&t=1"));
            assert_eq!(found, Some(expected.clone()));
        }
    }

    #[test]
    fn session_id_is_none_without_one_and_nobodys_if_malformed() {
        assert_eq!(SessionId::of("EIO=4&transport=polling"), None);
        for id in ["AAAAAAAAAAAAAAHs", "A~", "A~b.c", "A~*", "A~>", "~"] {
            let found = SessionId::of(&format!("sid={id}")).unwrap();
            assert!(!found.has_owner(), "{id}: {found:?}");
        }
    }

    #[test]
    fn name_in_another_packet_is_none() {
        let owner = Owner::named("a");
        for packet in ["", "2probe", "0", "0{}", r#"0{"sid":1}"#, "4{\"sid\":\"a\"}"] {
            assert_eq!(owner.name_in(packet), None, "{packet}");
        }
    }
}

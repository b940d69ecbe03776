//! Reads event streams (server-sent events), message by message.

use serde_json::Value;

use super::http::Client;
use super::wait::DEADLINE;

/// A message of an event stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: Option<String>,
    pub name: String,
    pub data: Value,
}

impl Message {
    /// The sequence in its id.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.id.as_deref().and_then(sequence).unwrap_or_else(|| panic!("{self:?}"))
    }
}

/// The sequence of a position.
#[must_use]
pub fn sequence(position: &str) -> Option<u64> {
    position.rsplit_once('.')?.1.parse().ok()
}

/// Turns what a stream sends into messages, as a browser does.
#[derive(Debug, Default)]
pub struct Parser {
    read: Vec<u8>,
    /// The last id, also of what is no message.
    pub last_id: Option<String>,
}

impl Parser {
    /// Adds what the stream sent.
    pub fn push(&mut self, bytes: &[u8]) {
        self.read.extend_from_slice(bytes);
    }

    /// The next message, if all of it was added. Comments are left out.
    pub fn next_message(&mut self) -> Option<Message> {
        loop {
            let end = self.read.windows(2).position(|pair| pair == b"\n\n")?;
            let block: Vec<u8> = self.read.drain(..end + 2).collect();
            let block = String::from_utf8(block).unwrap();
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let id = field("id").map(str::to_owned);
            self.last_id = id.clone().or(self.last_id.take());
            if let (Some(name), Some(data)) = (field("event"), field("data")) {
                return Some(Message { id, name: name.to_owned(), data: serde_json::from_str(data).unwrap() });
            }
        }
    }
}

/// An open event stream.
pub struct EventStream {
    response: reqwest::Response,
    parser: Parser,
}

impl EventStream {
    /// Opens a stream, after the last id that the client has.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn open(client: &Client, path: &str, last_id: Option<&str>) -> Self {
        let headers: Vec<_> = last_id.iter().map(|id| ("last-event-id", *id)).collect();
        let response = client.open(path, &headers).await.unwrap();
        assert_eq!(response.status(), 200, "{response:?}");
        Self { response, parser: Parser::default() }
    }

    /// The next message; none once the stream has ended, in order or not.
    ///
    /// # Panics
    /// If the stream sends nothing for too long.
    pub async fn next(&mut self) -> Option<Message> {
        let read = async {
            loop {
                if let Some(message) = self.parser.next_message() {
                    return Some(message);
                }
                self.parser.push(&self.response.chunk().await.ok().flatten()?);
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("the stream sends nothing")
    }

    /// The messages up to the first one for which `is_last` holds, with it.
    ///
    /// # Panics
    /// If the stream ends before, or sends nothing for too long.
    pub async fn until(&mut self, is_last: impl Fn(&Message) -> bool) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("the stream ended after {messages:?}"));
            let ends = is_last(&message);
            messages.push(message);
            if ends {
                return messages;
            }
        }
    }

    /// The last id that the stream sent.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.parser.last_id.as_deref()
    }
}

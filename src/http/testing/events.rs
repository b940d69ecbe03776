//! Reads an event stream of the service.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use dockhost_harness::events::{Message, Parser};
use http_body_util::BodyExt;

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// An event stream that is read message by message.
pub struct EventReader {
    body: Body,
    parser: Parser,
}

impl EventReader {
    pub fn new(response: Response) -> Self {
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), parser: Parser::default() }
    }

    /// The next message; none at the end of the stream.
    pub async fn next(&mut self) -> Option<Message> {
        tokio::time::timeout(DEADLINE, self.read()).await.expect("the stream sent nothing")
    }

    async fn read(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.parser.next_message() {
                return Some(message);
            }
            self.parser.push(&self.body.frame().await?.unwrap().into_data().unwrap());
        }
    }

    /// The messages up to one of this name, without it.
    pub async fn until(&mut self, name: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Some(message) if message.name == name => return messages,
                Some(message) => messages.push(message),
                None => panic!("the stream ended without {name}: {messages:?}"),
            }
        }
    }
}

//! A stream as an answer: server-sent events, or JSON lines.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::view::{Change, Message};
use crate::http::extract::accepts;

/// The content type of JSON lines.
pub const JSON_LINES: &str = "application/x-ndjson";
/// Tells proxies such as nginx to pass each part of an answer on at once.
const NO_BUFFERING: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
const KEEP_ALIVE: &str = "keep-alive";

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As server-sent events.
    ServerSentEvents,
    /// As JSON lines.
    JsonLines,
}

impl Format {
    /// The one that the caller accepts.
    pub fn accepted(headers: &HeaderMap) -> Self {
        if accepts(headers, JSON_LINES) { Self::JsonLines } else { Self::ServerSentEvents }
    }
}

/// What a stream sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// How long the client should wait before it connects again.
    Retry(Duration),
    /// Nothing has happened. The client has everything up to this position, if that is known.
    KeepAlive(Option<String>),
    /// A message.
    Message(Message),
}

/// A line of a stream as JSON lines.
#[derive(Serialize, ToSchema)]
pub struct StreamLine<'a> {
    /// The name of the message, such as `instance-updated`.
    event: &'a str,
    /// The position that you have with it: the `Last-Event-ID` to go on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<&'a str>,
    /// Its content, a change for most messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Change, nullable = false)]
    data: Option<&'a Value>,
}

/// The answer that sends these items.
pub fn answer(mut items: mpsc::Receiver<Item>, format: Format) -> Response {
    let items = futures::stream::poll_fn(move |cx| items.poll_recv(cx));
    let mut response = match format {
        Format::ServerSentEvents => Sse::new(items.map(|item| Ok::<_, Infallible>(event(item)))).into_response(),
        Format::JsonLines => ([(header::CONTENT_TYPE, JSON_LINES)], Body::from_stream(lines(items))).into_response(),
    };
    let (name, value) = NO_BUFFERING;
    response.headers_mut().insert(name, value);
    response
}

fn event(item: Item) -> Event {
    let with_id = |event: Event, id: Option<String>| match id {
        Some(id) => event.id(id),
        None => event,
    };
    match item {
        Item::Retry(after) => Event::default().retry(after),
        // An id without data is remembered, but is no event.
        Item::KeepAlive(position) => with_id(Event::default().comment(KEEP_ALIVE), position),
        Item::Message(Message { id, name, data }) => with_id(Event::default(), id).event(name).data(data.to_string()),
    }
}

fn lines(items: impl Stream<Item = Item>) -> impl Stream<Item = Result<Vec<u8>, serde_json::Error>> {
    items.filter_map(|item| std::future::ready(line(&item)))
}

fn line(item: &Item) -> Option<Result<Vec<u8>, serde_json::Error>> {
    let line = match item {
        Item::Retry(_) => return None,
        Item::KeepAlive(position) => {
            serde_json::to_vec(&StreamLine { event: KEEP_ALIVE, id: position.as_deref(), data: None })
        }
        Item::Message(message) => json_line(message, true),
    };
    Some(line.map(|mut line| {
        line.push(b'\n');
        line
    }))
}

/// A message as JSON on one line, without its end; without its content if that is not wanted.
///
/// # Errors
/// It has no JSON form.
pub fn json_line(Message { id, name, data }: &Message, with_data: bool) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&StreamLine { event: name, id: id.as_deref(), data: with_data.then_some(data) })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    async fn written(format: Format) -> (String, String) {
        let (sender, receiver) = mpsc::channel(8);
        let message = |id: Option<&str>, name: &str, data| {
            Item::Message(Message { id: id.map(str::to_owned), name: name.to_owned(), data })
        };
        for item in [
            Item::Retry(Duration::from_millis(1500)),
            message(Some("log.7"), "instance-updated", json!({ "name": "two\nlines" })),
            Item::KeepAlive(Some("log.9".to_owned())),
            Item::KeepAlive(None),
            message(None, "end", json!({ "reason": "shutdown" })),
        ] {
            sender.try_send(item).unwrap();
        }
        drop(sender);
        let (parts, body) = answer(receiver, format).into_parts();
        assert_eq!(parts.headers["x-accel-buffering"], "no");
        let body = body.collect().await.unwrap().to_bytes();
        let content_type = parts.headers["content-type"].to_str().unwrap().to_owned();
        (content_type, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn answer_as_server_sent_events_is_what_browsers_read() {
        let (content_type, text) = written(Format::ServerSentEvents).await;
        assert_eq!(content_type, "text/event-stream");
        let events: Vec<_> = text.split("\n\n").map(|event| event.lines().collect::<Vec<_>>()).collect();
        let expected = [
            &["retry: 1500"][..],
            &["id: log.7", "event: instance-updated", r#"data: {"name":"two\nlines"}"#],
            &[": keep-alive", "id: log.9"],
            &[": keep-alive"],
            &["event: end", r#"data: {"reason":"shutdown"}"#],
            &[],
        ];
        assert_eq!(events, expected, "{text}");
    }

    #[tokio::test]
    async fn answer_as_json_lines_has_the_same_messages() {
        let (content_type, text) = written(Format::JsonLines).await;
        assert_eq!(content_type, JSON_LINES);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = [
            json!({ "event": "instance-updated", "id": "log.7", "data": { "name": "two\nlines" } }),
            json!({ "event": "keep-alive", "id": "log.9" }),
            json!({ "event": "keep-alive" }),
            json!({ "event": "end", "data": { "reason": "shutdown" } }),
        ];
        assert_eq!(lines, expected);
    }
}

//! Requests of a polling session that arrive at a replica which does not have the session. They go over the broker, in the
//! servers' account, so that no balancer needs to know of sessions and replicas need not reach each other otherwise.

use std::time::Duration;

use async_nats::{Client, SubscribeError};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

use super::session_id::{Owner, SessionId};
use super::{MAX_SENT, PATH, PING_INTERVAL, PING_TIMEOUT, Protocols};
use crate::common::error::Cause;

/// The beginning of the subjects of these requests; the replica's name follows.
const SUBJECT: &str = "dockhost.socket";
/// A poll is answered when there is something to send, a ping at least.
const ANSWER_TIMEOUT: Duration = PING_INTERVAL.saturating_add(PING_TIMEOUT);
/// Requests of other replicas that are answered at once.
const MAX_CONCURRENT: usize = 4096;

/// A request that is handed over. The messages of clients and servers are text.
#[derive(Serialize, Deserialize)]
struct HandedOver {
    method: String,
    query: String,
    content_type: Option<String>,
    body: String,
}

/// Its answer.
#[derive(Serialize, Deserialize)]
struct Answer {
    status: u16,
    content_type: Option<String>,
    body: String,
}

/// The other replicas.
#[derive(Clone)]
pub struct Peers(Client);

impl Peers {
    /// Those that this connection to the broker leads to.
    pub const fn new(client: Client) -> Self {
        Self(client)
    }

    /// The answer of the replica that has the session; `None` if it does not answer.
    pub async fn hand_over(&self, request: &Parts, body: Bytes, id: &SessionId) -> Option<Response> {
        if !id.has_owner() {
            return None;
        }
        match self.ask(request, body, id).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::debug!(error, "a request of a Socket.IO session could not be handed over");
                None
            }
        }
    }

    async fn ask(&self, request: &Parts, body: Bytes, id: &SessionId) -> Result<Response, Cause> {
        let handed_over = HandedOver {
            method: request.method.to_string(),
            query: id.query.clone(),
            content_type: content_type(&request.headers),
            body: String::from_utf8(body.into())?,
        };
        let question = async_nats::Request::new().timeout(Some(ANSWER_TIMEOUT));
        let question = question.payload(serde_json::to_vec(&handed_over)?.into());
        let reply = self.0.send_request(subject(&id.owner), question).await?;
        let Answer { status, content_type, body } = serde_json::from_slice(&reply.payload)?;
        let mut answer = Response::builder().status(StatusCode::from_u16(status)?);
        if let Some(content_type) = content_type {
            answer = answer.header(header::CONTENT_TYPE, content_type);
        }
        Ok(answer.body(Body::from(body))?)
    }

    /// Answers what others hand to this replica, as long as the connection exists.
    ///
    /// # Errors
    /// The subscription could not be made.
    pub async fn serve(&self, owner: &Owner, protocols: &Protocols) -> Result<(), SubscribeError> {
        let questions = self.0.subscribe(subject(owner)).await?;
        let answers = questions.for_each_concurrent(MAX_CONCURRENT, |question| async move {
            let Some(reply) = question.reply else { return };
            match answer(&question.payload, protocols).await {
                Ok(answer) => {
                    // Without the broker, nobody waits for it any more.
                    let _ = self.0.publish(reply, answer.into()).await;
                }
                Err(error) => tracing::debug!(error, "a handed over request could not be answered"),
            }
        });
        answers.map(Ok).await
    }
}

async fn answer(question: &[u8], protocols: &Protocols) -> Result<Vec<u8>, Cause> {
    let HandedOver { method, query, content_type: of_body, body } = serde_json::from_slice(question)?;
    let mut request = Request::builder().method(method.as_str()).uri(format!("{PATH}?{query}"));
    if let Some(of_body) = of_body {
        request = request.header(header::CONTENT_TYPE, of_body);
    }
    let Ok(response) = protocols.of(&query).clone().oneshot(request.body(Body::from(body))?).await;
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::try_from(2 * MAX_SENT)?).await?;
    let answer = Answer {
        status: parts.status.as_u16(),
        content_type: content_type(&parts.headers),
        body: String::from_utf8(body.into())?,
    };
    Ok(serde_json::to_vec(&answer)?)
}

fn subject(owner: &Owner) -> String {
    format!("{SUBJECT}.{}", owner.as_str())
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_owned())
}

//! The body is read before anything is answered, within a bound.
//!
//! In: a request with a body of any length. Out: the request with its whole body, or 413 once it was too long. A server
//! that answers early leaves the rest of the body on the wire: it must then close the connection, and a client that
//! sends its next request on it (as browsers do) sees a network error instead of an answer.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::error::{ApiError, Code};

/// The largest body, in bytes.
const LIMIT: usize = 64 * 1024;
/// A longer one is still read up to here, so that its sender hears why it is refused.
const READ_AT_MOST: usize = 4 * 1024 * 1024;

/// Reads the body. How long that may take is bounded further out.
pub async fn layer(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match read(body).await {
        Ok(body) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => {
            let mut response = error.into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

async fn read(body: Body) -> Result<Body, ApiError> {
    let mut chunks = body.into_data_stream();
    let (mut held, mut seen) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::new(Code::MalformedJson, "the body could not be read"))?;
        seen += chunk.len();
        if seen > READ_AT_MOST {
            break;
        }
        if seen <= LIMIT {
            held.extend_from_slice(&chunk);
        }
    }
    if seen > LIMIT {
        return Err(ApiError::new(Code::BodyTooLarge, "the body is over the limit of 64 KiB"));
    }
    Ok(held.into())
}

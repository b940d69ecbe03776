//! The size limit of request bodies.
//!
//! tower-http's `RequestBodyLimitLayer` answers while the body is still arriving. The server must then close the
//! connection, and a client that sends its next request on it (as browsers do) gets a network error instead of the
//! answer. This layer reads the whole body first, within a bound, and answers in the envelope.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use crate::http::response::{ApiError, Code};

/// The largest accepted body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// A larger body is read up to here, so that its sender receives the 413.
const MAX_READ_BYTES: usize = 4 * 1024 * 1024;

/// The layer. The timeout around it limits how long reading may take.
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
    let (mut buffer, mut received) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::new(Code::MalformedJson, "the body could not be read"))?;
        received += chunk.len();
        if received > MAX_READ_BYTES {
            break;
        }
        if received <= MAX_BODY_BYTES {
            buffer.extend_from_slice(&chunk);
        }
    }
    if received > MAX_BODY_BYTES {
        return Err(ApiError::new(Code::BodyTooLarge, "the body exceeds the limit of 64 KiB"));
    }
    Ok(buffer.into())
}

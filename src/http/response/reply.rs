//! Successful answers: `{success: true, message, data}`, with cookies, `Location` and the log's position.

use axum::Json;
use axum::http::header::{HeaderName, LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dockhost_domain::ids::OperationId;
use serde::Serialize;
use serde_json::{Value, json};

use crate::http::consistency::{POSITION, STALE};

/// A successful answer.
pub struct Reply {
    status: StatusCode,
    body: Value,
    headers: Vec<(HeaderName, String)>,
}

impl Reply {
    /// 200 with data.
    pub fn ok(message: &str, data: impl Serialize) -> Self {
        Self::with_status(StatusCode::OK, message, data)
    }

    /// 201 with data.
    pub fn created(message: &str, data: impl Serialize) -> Self {
        Self::with_status(StatusCode::CREATED, message, data)
    }

    /// 202 with data: the operation continues.
    pub fn accepted(message: &str, data: impl Serialize, operation: OperationId) -> Self {
        let location = format!("/api/v2/operations/{operation}");
        Self::with_status(StatusCode::ACCEPTED, message, data).header(LOCATION, location)
    }

    fn with_status(status: StatusCode, message: &str, data: impl Serialize) -> Self {
        Self { status, body: json!({ "success": true, "message": message, "data": data }), headers: Vec::new() }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With a cookie.
    #[must_use]
    pub fn cookie(self, cookie: &axum_extra::extract::cookie::Cookie<'_>) -> Self {
        self.header(SET_COOKIE, cookie.to_string())
    }

    /// With the first sequence that the data lacks, if it lacks any.
    #[must_use]
    pub fn stale(self, since: Option<u64>) -> Self {
        match since {
            Some(since) => self.header(STALE, since.to_string()),
            None => self,
        }
    }

    /// With the log position of the write, or of the state shown.
    #[must_use]
    pub fn position(self, position: String) -> Self {
        self.header(POSITION, position)
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

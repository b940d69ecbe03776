//! Path and query parameters. axum's own extractors answer errors in plain text; these use the envelope.

use axum::extract::FromRequestParts;
use axum::extract::rejection::{PathRejection, QueryRejection};
use serde_json::json;

use crate::http::response::{ApiError, Code};

/// Path parameters.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub struct Path<T>(pub T);

/// Query parameters.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub struct Query<T>(pub T);

impl From<PathRejection> for ApiError {
    /// A parameter that is not UTF-8 names nothing.
    fn from(_: PathRejection) -> Self {
        Self::not_found("path")
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        let problem = json!([{ "field": "query", "problem": rejection.body_text() }]);
        Self::new(Code::ValidationFailed, "the query can't be read").with(problem)
    }
}

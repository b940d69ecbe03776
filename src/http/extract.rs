//! The parts of a URL. In: a path or a query of any content. Out: typed values, or an error in the envelope: the
//! framework's own would be plain text.

use axum::extract::FromRequestParts;
use axum::extract::rejection::{PathRejection, QueryRejection};
use serde_json::json;

use super::error::{ApiError, Code};

/// What stands for the `{placeholders}` of a path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub struct Path<T>(pub T);

/// The query.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub struct Query<T>(pub T);

impl From<PathRejection> for ApiError {
    /// What isn't text names nothing.
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

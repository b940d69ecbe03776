//! Path and query parameters. axum's own extractors answer errors in plain text; these use the envelope.

use axum::extract::FromRequestParts;
use axum::extract::rejection::{PathRejection, QueryRejection};

use crate::http::response::details::FieldProblem;
use crate::http::response::{ApiError, Code, Details};

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
        let problem = FieldProblem { field: "query".to_owned(), problem: rejection.body_text() };
        Self::new(Code::ValidationFailed, "the query can't be read").with(Details::Fields(vec![problem]))
    }
}

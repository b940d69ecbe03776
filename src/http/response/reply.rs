//! Successful answers: `{success: true, message, data}`, with cookies, `Location`, `Link` and the log's position.

use std::fmt::Display;

use axum::Json;
use axum::http::header::{CONTENT_DISPOSITION, ETAG, HeaderName, LINK, LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::cookie::Cookie;
use dockhost_domain::ids::OperationId;
use dockhost_projections::store::Page;
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, SchemaType, Type};

use crate::http::consistency::{POSITION, STALE};
use crate::http::extract::IfNoneMatch;
use crate::http::version::Version;

/// The envelope of a success.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Success<T> {
    #[schema(schema_with = always::<true>)]
    success: bool,
    /// What happened, for people.
    message: &'static str,
    data: T,
}

/// `data` of an answer that has none.
#[derive(Serialize)]
pub struct Null;

impl utoipa::PartialSchema for Null {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(SchemaType::new(Type::Null)).into()
    }
}

impl utoipa::ToSchema for Null {}

/// A successful answer.
pub struct Reply<T> {
    status: StatusCode,
    body: Success<T>,
    headers: Vec<(HeaderName, String)>,
    /// The version of what it shows, and the answers that the caller has.
    version: Option<(Version, IfNoneMatch)>,
}

impl<T> Reply<T> {
    /// 200 with data.
    pub const fn ok(message: &'static str, data: T) -> Self {
        Self::with_status(StatusCode::OK, message, data)
    }

    /// 201 with data.
    pub const fn created(message: &'static str, data: T) -> Self {
        Self::with_status(StatusCode::CREATED, message, data)
    }

    /// 202 with data: the operation continues.
    pub fn accepted(message: &'static str, data: T, operation: OperationId) -> Self {
        let location = format!("/api/v2/operations/{operation}");
        Self::with_status(StatusCode::ACCEPTED, message, data).header(LOCATION, location)
    }

    const fn with_status(status: StatusCode, message: &'static str, data: T) -> Self {
        Self { status, body: Success { success: true, message, data }, headers: Vec::new(), version: None }
    }

    fn header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With cookies.
    #[must_use]
    pub fn cookies<'a>(self, cookies: impl IntoIterator<Item = Cookie<'a>>) -> Self {
        cookies.into_iter().fold(self, |reply, cookie| reply.header(SET_COOKIE, cookie.to_string()))
    }

    /// With the first sequence that the data lacks, if it lacks any.
    #[must_use]
    pub fn stale(self, since: Option<u64>) -> Self {
        match since {
            Some(since) => self.header(STALE, since.to_string()),
            None => self,
        }
    }

    /// With an `ETag`, of this version; 304 if the caller has this answer.
    #[must_use]
    pub fn version(self, version: Version, known: IfNoneMatch) -> Self {
        Self { version: Some((version, known)), ..self }
    }

    /// The data alone.
    pub fn into_data(self) -> T {
        self.body.data
    }

    /// To be saved as a file with this name, of ASCII without quotes.
    #[must_use]
    pub fn attachment(self, name: &str) -> Self {
        self.header(CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))
    }

    /// With a link to the page after this one, if there is one. It is relative to the request, whatever the path of that was.
    #[must_use]
    pub fn next_page<Id: Display>(self, page: Option<&Page<Id>>, cursor: Option<Id>) -> Self {
        match (page, cursor) {
            (Some(page), Some(cursor)) => {
                self.header(LINK, format!("<?limit={}&cursor={cursor}>; rel=\"next\"", page.limit))
            }
            _ => self,
        }
    }

    /// With the log position of the write, or of the state shown.
    #[must_use]
    pub fn position(self, position: String) -> Self {
        self.header(POSITION, position)
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let etag = self.version.map(|(version, known)| (version.etag(&self.body.data), known));
        let mut response = match &etag {
            Some((etag, known)) if known.has(etag) => StatusCode::NOT_MODIFIED.into_response(),
            _ => (self.status, Json(self.body)).into_response(),
        };
        let etag = etag.map(|(etag, _)| (ETAG, etag));
        for (name, value) in self.headers.into_iter().chain(etag) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

/// The schema of a boolean that is always the same.
pub fn always<const VALUE: bool>() -> Object {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::Boolean)).enum_values(Some([VALUE])).build()
}

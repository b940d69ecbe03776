//! The error answers of an endpoint in the API's document: one response per status, with the codes that it may carry.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::ToSchema;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};

use super::code::Code;
use super::error::ErrorEnvelope;
use crate::http::middleware::request_id::REQUEST_ID;
use crate::http::openapi::{header, integer, request_id_header, text};

/// What the layers around all routes answer.
const LAYERS: &[Code] =
    &[Code::MalformedJson, Code::RequestTimeout, Code::BodyTooLarge, Code::RateLimited, Code::Internal];
/// What [`Body`](crate::http::extract::Body) answers.
pub const BODY: &[Code] = &[Code::MalformedJson, Code::UnsupportedMediaType, Code::ValidationFailed];
/// What reading an aggregate's state answers.
pub const STATE: &[Code] = &[Code::BrokerUnavailable, Code::Frozen];
/// What the extractors of the caller answer.
pub const CALLER: &[Code] = &[Code::Unauthorized, Code::BrokerUnavailable, Code::Frozen];
/// What the extractor of a session answers to a command.
pub const SESSION_OF_COMMAND: &[Code] =
    &[Code::Unauthorized, Code::ForeignOrigin, Code::BrokerUnavailable, Code::Frozen];
/// What the extractors of the caller answer to a command.
pub const CALLER_OF_COMMAND: &[Code] =
    &[Code::Unauthorized, Code::ForeignOrigin, Code::InsufficientScope, Code::BrokerUnavailable, Code::Frozen];
/// What the extractor of an administrator answers.
pub const ADMIN: &[Code] =
    &[Code::Unauthorized, Code::InsufficientScope, Code::Forbidden, Code::BrokerUnavailable, Code::Frozen];
/// What the extractor of an administrator answers to a command.
pub const ADMIN_OF_COMMAND: &[Code] = &[
    Code::Unauthorized,
    Code::ForeignOrigin,
    Code::InsufficientScope,
    Code::Forbidden,
    Code::BrokerUnavailable,
    Code::Frozen,
];
/// What a command on a version answers.
pub const ON_VERSION: &[Code] = &[Code::InvalidHeader, Code::PreconditionFailed];
/// What a command with [`Repeatable`](crate::http::extract::Repeatable) answers.
pub const REPEATABLE: &[Code] = &[Code::InvalidHeader, Code::RequestInFlight, Code::IdempotencyKeyReused];
/// What executing a command answers, rejections aside.
pub const COMMAND: &[Code] = &[Code::Busy, Code::BrokerUnavailable, Code::OutcomeUnknown, Code::Frozen, Code::LogFull];
/// What reading a read model answers.
pub const READ_MODEL: &[Code] = &[Code::InvalidHeader, Code::DatabaseUnavailable, Code::NotCaughtUp];

/// Declares a type for `responses(…)` of `utoipa::path`: the error answers with these groups of codes.
macro_rules! error_responses {
    ($(#[$doc:meta])* $visibility:vis $name:ident: $($codes:expr),* $(,)?) => {
        $(#[$doc])*
        $visibility struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
            > {
                let codes: &[&[$crate::http::response::Code]] = &[$($codes),*];
                $crate::http::response::documented::by_status(codes)
            }
        }
    };
}
pub(crate) use error_responses;

/// One response for each status of these codes, and of those that every route may answer. A status with one code refers
/// to the response of [`components`].
pub fn by_status(groups: &[&[Code]]) -> BTreeMap<String, RefOr<Response>> {
    let mut codes: Vec<Code> = groups.iter().chain([&LAYERS]).flat_map(|group| group.iter().copied()).collect();
    codes.sort_unstable();
    codes.dedup();
    let mut by_status: BTreeMap<StatusCode, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(code);
    }
    let answer = |(status, codes): (StatusCode, Vec<Code>)| {
        let response = match codes[..] {
            [code] => RefOr::Ref(Ref::from_response_name(component_name(code))),
            _ => response(status, &codes).into(),
        };
        (status.as_str().to_owned(), response)
    };
    by_status.into_iter().map(answer).collect()
}

/// The responses with one code, by name.
pub fn components() -> impl Iterator<Item = (String, Response)> {
    Code::ALL.iter().map(|code| (component_name(*code), response(code.status(), &[*code])))
}

/// The code as a name: `log_full` as `LogFull`.
fn component_name(code: Code) -> String {
    code.as_str().split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

fn response(status: StatusCode, codes: &[Code]) -> Response {
    let meanings = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning()));
    let error = ObjectBuilder::new().property("code", Code::one_of(codes));
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name(ErrorEnvelope::name()))
        .item(ObjectBuilder::new().property("error", error));
    let mut response = ResponseBuilder::new()
        .description(meanings.collect::<Vec<_>>().join("\n\n"))
        .content("application/json", ContentBuilder::new().schema(Some(schema)).build());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response = response.header("Retry-After", header("Seconds to wait before trying again.", integer()));
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        let limit =
            "The limit, `\"signin\";q=100;w=60`: requests, and the seconds in which they become available again.";
        let left = "What is left, `\"signin\";r=0;t=60`: requests, and seconds until all are available again.";
        response = response
            .header("Retry-After", header("Seconds to wait before trying again.", integer()))
            .header("RateLimit-Policy", header(limit, text()))
            .header("RateLimit", header(left, text()));
    }
    let mut response = response.build();
    response.headers.insert(REQUEST_ID.to_string(), request_id_header());
    response
}

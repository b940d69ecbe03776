//! `If-Match` and `If-None-Match` (RFC 9110): what a caller knows of a resource.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use crate::http::openapi::{header_parameter, text};
use crate::http::response::{ApiError, Code};
use crate::http::version::{SEPARATOR, Version};

/// One tag, for the API's document.
const PATTERN: &str = r#"^(W/)?"[!#-~]*"$"#;

/// The tags of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`.
    Any,
    /// Each without its quotes; weak ones begin with `W/`.
    These(Vec<String>),
}

/// The tags of a header; none if it is absent.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let invalid = || ApiError::new(Code::InvalidHeader, format!("{name} must be `*`, or ETags in quotation marks"));
    let mut found = Vec::new();
    for value in headers.get_all(name) {
        let mut rest = value.to_str().map_err(|_| invalid())?.trim();
        if rest == "*" {
            return Ok(Some(Tags::Any));
        }
        while !rest.is_empty() {
            let (weak, quoted) = rest.strip_prefix("W/").map_or(("", rest), |quoted| ("W/", quoted));
            let (tag, after) = quoted.strip_prefix('"').and_then(|tag| tag.split_once('"')).ok_or_else(invalid)?;
            found.push(format!("{weak}{tag}"));
            rest = after.trim_start();
            rest = if rest.is_empty() { rest } else { rest.strip_prefix(',').ok_or_else(invalid)?.trim_start() };
        }
    }
    Ok((!found.is_empty()).then_some(Tags::These(found)))
}

/// The versions on which a command may be decided: all, if the request does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IfMatch(Option<Tags>);

impl IfMatch {
    /// Whether the command may be decided. What does not exist has no version; then the command says so.
    pub fn allows(&self, version: impl FnOnce() -> Option<Version>) -> bool {
        let Some(Tags::These(tags)) = &self.0 else { return true };
        let Some(version) = version() else { return true };
        let version = version.to_string();
        // The rest of a tag is about what changes by itself.
        tags.iter().any(|tag| tag.split(SEPARATOR).next() == Some(version.as_str()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        tags(&parts.headers, &header::IF_MATCH).map(Self)
    }
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "The `ETag` of an answer that you have: the command is refused with 412 `precondition_failed` if \
                           the resource was changed since.";
        vec![header_parameter("If-Match", description, text().pattern(Some(PATTERN)))]
    }
}

/// The answers that a caller has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IfNoneMatch(Option<Tags>);

impl IfNoneMatch {
    /// Whether the caller has the answer with this `ETag`.
    pub fn has(&self, etag: &str) -> bool {
        let etag = etag.trim_matches('"');
        match &self.0 {
            None => false,
            Some(Tags::Any) => true,
            // The comparison is a weak one: proxies that compress make a tag weak.
            Some(Tags::These(tags)) => tags.iter().any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    /// A malformed one is ignored: then the answer is complete.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(tags(&parts.headers, &header::IF_NONE_MATCH).ok().flatten()))
    }
}

impl IntoParams for IfNoneMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "The `ETag` of an answer that you have: 304 without a body if it is still the same.";
        // A malformed one is no error.
        vec![header_parameter("If-None-Match", description, text())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<Tags>, ()> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        tags(&headers, &header::IF_MATCH).map_err(|_| ())
    }

    fn these(tags: &[&str]) -> Result<Option<Tags>, ()> {
        Ok(Some(Tags::These(tags.iter().map(|tag| (*tag).to_owned()).collect())))
    }

    #[test]
    fn tags_are_a_star_or_quoted_texts() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(Some(Tags::Any)));
        assert_eq!(read(&[r#""a.b""#]), these(&["a.b"]));
        assert_eq!(read(&[r#"W/"a" , "b,c""#, r#""d""#]), these(&["W/a", "b,c", "d"]));
        for invalid in ["a", r#""a"#, r#""a" "b""#, r#"w/"a""#, r#"*, "a""#] {
            assert_eq!(read(&[invalid]), Err(()), "{invalid}");
        }
    }

    #[test]
    fn if_match_allows_the_version_whatever_else_the_answer_showed() {
        let (version, other) = (Version::of(&1), Version::of(&2));
        let seen = |etag: String| IfMatch(Some(Tags::These(vec![etag.trim_matches('"').to_owned()])));
        let matches = seen(version.etag(&"reachable"));
        assert!(matches.allows(|| Some(version.clone())) && !matches.allows(|| Some(other.clone())));
        assert!(seen(version.to_string()).allows(|| Some(version.clone())));
        assert!(!seen(format!("W/{version}")).allows(|| Some(version.clone())), "only a strong tag proves it");
        assert!(matches.allows(|| None) && IfMatch(Some(Tags::Any)).allows(|| Some(other)));
    }

    #[test]
    fn if_none_match_has_the_same_answer_only() {
        let version = Version::of(&1);
        let (etag, other) = (version.etag(&"reachable"), version.etag(&"unreachable"));
        for tag in [etag.trim_matches('"').to_owned(), format!("W/{}", etag.trim_matches('"'))] {
            let has = IfNoneMatch(Some(Tags::These(vec![tag])));
            assert!(has.has(&etag) && !has.has(&other));
        }
        assert!(IfNoneMatch(Some(Tags::Any)).has(&etag) && !IfNoneMatch(None).has(&etag));
    }
}

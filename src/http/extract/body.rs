//! JSON bodies as typed requests. An error names all invalid fields at once: unknown and missing ones, wrong types, and
//! values that break a rule.

use std::cell::Cell;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request as HttpRequest};
use axum::http::{HeaderMap, header};
use garde::Validate;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::members::{MemberError, Members};
use crate::http::dockhost_v2::{self, OtherName};
use crate::http::response::details::FieldProblem;
use crate::http::response::{ApiError, Code, Details};

/// A request body. Its schema has an example, which [`JsonObject::read`] uses.
pub trait Request: DeserializeOwned + Validate<Context = ()> + ToSchema {}

impl<T: DeserializeOwned + Validate<Context = ()> + ToSchema> Request for T {}

/// A valid request.
pub struct Body<T>(pub T);

/// A JSON object whose members were not looked at yet.
pub struct JsonObject(Map<String, Value>);

impl<S: Send + Sync, T: Request> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: HttpRequest, state: &S) -> Result<Self, ApiError> {
        JsonObject::from_request(request, state).await?.read().map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: HttpRequest, state: &S) -> Result<Self, ApiError> {
        let content_type = content_type(request.headers());
        let encoding = request.headers().get(header::CONTENT_ENCODING);
        let is_encoded = encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|_| ApiError::new(Code::MalformedJson, "the body could not be read"))?;
        // Many clients set a content type on each request, with a body or without one.
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        if is_encoded {
            let message = "send the body as it is, without a content-encoding";
            return Err(ApiError::new(Code::UnsupportedMediaType, message));
        }
        match content_type {
            ContentType::Json => {}
            ContentType::Absent | ContentType::Other => {
                let message = "send JSON, with the header content-type: application/json";
                return Err(ApiError::new(Code::UnsupportedMediaType, message));
            }
        }
        match serde_json::from_slice(&body) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(ApiError::new(Code::MalformedJson, "the body must be a JSON object")),
            Err(error) => Err(ApiError::new(Code::MalformedJson, format!("the body is not JSON: {error}"))),
        }
    }
}

enum ContentType {
    Absent,
    Json,
    Other,
}

fn content_type(headers: &HeaderMap) -> ContentType {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return ContentType::Absent };
    let essence = value.to_str().ok().and_then(|value| value.split(';').next());
    match essence {
        Some(essence) if essence.trim().eq_ignore_ascii_case("application/json") => ContentType::Json,
        _ => ContentType::Other,
    }
}

impl JsonObject {
    /// The request, if all members are valid.
    ///
    /// serde stops at the first error. A member with an error is therefore recorded and replaced by the one of the
    /// schema's example, until the rest has been checked as well.
    ///
    /// # Errors
    /// `validation_failed` with an entry for each invalid field.
    pub fn read<T: Request>(self) -> Result<T, ApiError> {
        let Self(mut members) = self;
        let fields = Cell::new(&[][..]);
        let mut problems = Problems::default();
        let request = loop {
            match T::deserialize(Members::new(&members, &fields)) {
                Ok(request) => break Some(request),
                Err(MemberError { member, problem }) => {
                    match dockhost_v2::read_other_name(&mut members, &member, fields.get()) {
                        None => {}
                        Some(OtherName::Renamed) => continue,
                        Some(OtherName::Differs { own }) => {
                            problems.add(member, format!("is another name of {own}, which has another value"));
                            continue;
                        }
                    }
                    let stand_in = example::<T>().and_then(|mut example| example.remove(&member));
                    match stand_in {
                        Some(value) => members.insert(member.clone(), value),
                        None => members.remove(&member),
                    };
                    if !problems.add(member, problem) {
                        break None;
                    }
                }
            }
        };
        if let Some(Err(report)) = request.as_ref().map(Validate::validate) {
            for (path, error) in report.iter() {
                problems.add(camel_case(&path.to_string()), error.to_string());
            }
        }
        match request {
            Some(request) if problems.0.is_empty() => Ok(request),
            _ => Err(problems.into_error(fields.get())),
        }
    }
}

/// The example in a request's schema.
fn example<T: ToSchema>() -> Option<Map<String, Value>> {
    let RefOr::T(Schema::Object(schema)) = T::schema() else { return None };
    match schema.examples.into_iter().next() {
        Some(Value::Object(example)) => Some(example),
        _ => None,
    }
}

/// At most one problem for each field.
#[derive(Default)]
struct Problems(Vec<FieldProblem>);

impl Problems {
    /// `false` if the field has a problem already.
    fn add(&mut self, field: String, problem: String) -> bool {
        let is_new = self.0.iter().all(|known| known.field != field);
        if is_new {
            self.0.push(FieldProblem { field, problem });
        }
        is_new
    }

    /// In the order of the request's fields; unknown ones last.
    fn into_error(mut self, fields: &[&str]) -> ApiError {
        self.0.sort_by_key(|problem| fields.iter().position(|field| *field == problem.field).unwrap_or(fields.len()));
        ApiError::new(Code::ValidationFailed, "some fields are invalid").with(Details::Fields(self.0))
    }
}

/// The JSON name of a Rust field.
fn camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        name + &letters.next().map(|letter| letter.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    })
}

#[cfg(test)]
mod tests {
    use dockhost_domain::names::Username;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, Validate, ToSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[schema(examples(json!({ "username": "ada", "email": "ada@example.org", "password": "correct horse" })))]
    struct Sample {
        #[garde(skip)]
        #[schema(value_type = String)]
        username: Username,
        #[garde(skip)]
        email: String,
        #[garde(length(min = 8))]
        password: String,
        #[garde(range(max = 5))]
        max_containers: Option<u32>,
        #[garde(skip)]
        note: Option<String>,
    }

    fn read(value: Value) -> Result<Sample, Vec<FieldProblem>> {
        let Value::Object(members) = value else { panic!("not an object") };
        JsonObject(members).read().map_err(|error| {
            assert_eq!(error.code(), Code::ValidationFailed);
            let Details::Fields(problems) = error.details() else { panic!("{error:?}") };
            problems.clone()
        })
    }

    fn fields(value: Value) -> Vec<String> {
        read(value).unwrap_err().into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn body_invalid_names_all_fields_at_once() {
        let body = json!({
            "username": { "$ne": null }, "password": "short", "extra": 1, "maxContainers": 6, "note": "a\u{0}", "bad": {}
        });
        assert_eq!(fields(body), ["username", "email", "password", "maxContainers", "note", "bad", "extra"]);
        assert_eq!(fields(json!({})), ["username", "email", "password"]);
        assert_eq!(fields(json!({ "username": null, "email": 1, "password": [] })), ["username", "email", "password"]);
    }

    #[test]
    fn body_invalid_names_the_rule_and_never_the_value() {
        let body = json!({ "username": "A", "email": 7, "password": null, "maxContainers": -1, "x": 1 });
        let problems = read(body).unwrap_err();
        let problems: Vec<_> = problems.iter().map(|p| (p.field.as_str(), p.problem.as_str())).collect();
        assert_eq!(
            problems,
            [
                ("username", "must be 3 to 32 characters long"),
                ("email", "must be a string"),
                ("password", "is missing"),
                ("maxContainers", "must be a whole number that is not negative"),
                ("x", "is not a field of this request"),
            ]
        );
    }

    #[test]
    fn body_with_names_of_dockhost_v2_is_read() {
        #[derive(Debug, Deserialize, Validate, ToSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct WithKey {
            #[garde(length(min = 2))]
            ssh_public_key: Option<String>,
        }
        let read = |value: Value| {
            let Value::Object(members) = value else { panic!("not an object") };
            let request = JsonObject(members).read::<WithKey>().map(|request| request.ssh_public_key);
            request.map_err(|error| match error.details() {
                Details::Fields(problems) => problems.iter().map(|problem| problem.field.clone()).collect::<Vec<_>>(),
                details => panic!("{details:?}"),
            })
        };
        assert_eq!(read(json!({ "SSH_PUB_KEY": "key" })), Ok(Some("key".to_owned())));
        assert_eq!(read(json!({ "SSH_PUB_KEY": "" })), Ok(None));
        assert_eq!(
            read(json!({ "SSH_PUB_KEY": "k", "opearatingSystem": "x" })),
            Err(vec!["sshPublicKey".to_owned(), "opearatingSystem".to_owned(),])
        );
        assert_eq!(read(json!({ "SSH_PUB_KEY": "key", "sshPublicKey": "other" })), Err(vec!["SSH_PUB_KEY".to_owned()]));
    }

    #[test]
    fn body_valid_is_read() {
        let body =
            json!({ "username": "eve", "email": "e", "password": "long enough", "note": null, "maxContainers": 5 });
        let sample = read(body).unwrap();
        assert_eq!((sample.username.as_str(), sample.max_containers), ("eve", Some(5)));
        assert_eq!((sample.email.as_str(), sample.password.as_str(), sample.note), ("e", "long enough", None));
    }
}

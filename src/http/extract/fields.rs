//! Reading a JSON body field by field, so that an answer can name everything that is wrong at once.
//!
//! In: a body of any content. Out: typed fields, or one error with an entry per wrong, missing or unknown field. What
//! comes out is text and numbers only: an object like `{"$ne": null}` where text belongs is a wrong type.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde_json::{Map, Value, json};

use crate::http::response::error::{ApiError, Code};

/// A body's fields, and what was wrong with those read so far.
pub struct Fields {
    fields: Map<String, Value>,
    wrong: Vec<Value>,
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"));
        let untyped = !request.headers().contains_key(header::CONTENT_TYPE);
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|_| ApiError::new(Code::MalformedJson, "the body could not be read"))?;
        if body.is_empty() && untyped {
            return Ok(Self::of(Map::new()));
        }
        if !is_json {
            let message = "send JSON, with the header content-type: application/json";
            return Err(ApiError::new(Code::UnsupportedMediaType, message));
        }
        match serde_json::from_slice(&body) {
            Ok(Value::Object(fields)) => Ok(Self::of(fields)),
            Ok(_) => Err(ApiError::new(Code::MalformedJson, "the body must be a JSON object")),
            Err(error) => Err(ApiError::new(Code::MalformedJson, format!("the body is not JSON: {error}"))),
        }
    }
}

impl Fields {
    /// The fields of an object.
    pub const fn of(fields: Map<String, Value>) -> Self {
        Self { fields, wrong: Vec::new() }
    }

    fn complain(&mut self, field: &str, problem: impl Display) {
        self.wrong.push(json!({ "field": field, "problem": problem.to_string() }));
    }

    /// A text that may be absent (`null` counts as absent).
    pub fn optional(&mut self, field: &str) -> Option<String> {
        match self.fields.remove(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.chars().any(|c| c.is_control() && c != '\n' && c != '\r') => {
                self.complain(field, "must not hold control characters");
                None
            }
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.complain(field, "must be a text");
                None
            }
        }
    }

    /// A text that must be there.
    pub fn required(&mut self, field: &str) -> Option<String> {
        let missing = self.fields.get(field).is_none_or(Value::is_null);
        if missing {
            self.complain(field, "is missing");
        }
        self.optional(field)
    }

    /// A number within bounds that may be absent.
    pub fn number(&mut self, field: &str, from: u32, to: u32) -> Option<u32> {
        let value = self.fields.remove(field).filter(|value| !value.is_null())?;
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (from..=to).contains(n));
        if number.is_none() {
            self.complain(field, format!("must be a whole number from {from} to {to}"));
        }
        number
    }

    /// Holds a text against a rule; complains with the rule's own sentence.
    pub fn check<T, E: Display>(
        &mut self,
        field: &str,
        text: Option<String>,
        rule: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match rule(&text?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.complain(field, problem);
                None
            }
        }
    }

    /// A text that must be there and parse.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, field: &str) -> Option<T> {
        let text = self.required(field);
        self.check(field, text, str::parse)
    }

    /// Ends the reading: what was read, if nothing was wrong and nothing is left over.
    ///
    /// # Errors
    /// `validation_failed` with an entry per field.
    pub fn done<T>(mut self, read: Option<T>) -> Result<T, ApiError> {
        let unknown: Vec<String> = self.fields.keys().cloned().collect();
        for field in unknown {
            self.complain(&field, "is not a field of this request");
        }
        match read {
            Some(read) if self.wrong.is_empty() => Ok(read),
            _ => Err(ApiError::new(Code::ValidationFailed, "some fields are wrong").with(Value::Array(self.wrong))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockhost_domain::names::Username;

    fn fields(value: Value) -> Fields {
        let Value::Object(fields) = value else { panic!("not an object") };
        Fields::of(fields)
    }

    fn complaints(error: &ApiError) -> Vec<String> {
        let entries = error.details().as_array().unwrap().clone();
        entries.iter().map(|entry| entry["field"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_named_once() {
        let mut body = fields(json!({ "username": { "$ne": null }, "email": 7, "extra": 1, "n": -1, "c": "a\u{0}" }));
        let username: Option<Username> = body.parsed("username");
        let email = body.required("email");
        let password = body.required("password");
        let number = body.number("n", 1, 5);
        let control = body.optional("c");
        assert!(username.is_none() && email.is_none() && password.is_none() && number.is_none() && control.is_none());
        let error = body.done(Some(())).unwrap_err();
        assert_eq!(error.code(), Code::ValidationFailed);
        assert_eq!(complaints(&error), ["username", "email", "password", "n", "c", "extra"]);
    }

    #[test]
    fn what_is_right_comes_through() {
        let mut body = fields(json!({ "username": "ada", "note": null }));
        let username: Option<Username> = body.parsed("username");
        assert!(body.optional("note").is_none());
        assert_eq!(body.done(username).unwrap().as_str(), "ada");
    }
}

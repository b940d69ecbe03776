//! A request to the service, and its answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use http_body_util::BodyExt;
use jsonschema::Validator;
use serde_json::Value;
use tower::ServiceExt;

use super::TestApp;
use crate::http::{dockhost_v2, openapi};

/// The API's document.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(openapi::document()).unwrap());

/// The validators of answers, by where the document has the response. To make one takes longer than a request.
static VALIDATORS: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());

/// The items of each page of a list that answers with an array, as `Link` leads from one to the next. `get` sends a query.
pub async fn pages(get: &impl AsyncFn(&str) -> Answer, first: &str) -> Vec<Vec<Value>> {
    let (mut pages, mut query) = (Vec::new(), first.to_owned());
    loop {
        let answer = get(&query).await;
        let items = answer.data().as_array().unwrap_or_else(|| panic!("{answer:?}"));
        pages.push(items.clone());
        let Some(link) = answer.header("link") else { return pages };
        let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        next.unwrap_or_else(|| panic!("{link}")).clone_into(&mut query);
    }
}

/// A request to the service.
pub struct TestRequest<'a> {
    pub(super) app: &'a TestApp,
    pub(super) request: Builder,
    pub(super) body: Body,
}

impl TestRequest<'_> {
    pub fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// From this address.
    pub fn peer(self, address: &str) -> Self {
        let peer = SocketAddr::new(address.parse().unwrap(), 40_000);
        Self { request: self.request.extension(ConnectInfo(peer)), ..self }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers write literals")]
    pub fn json(self, body: Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn body(self, body: impl Into<Body>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Sends the request, and compares the answer with the API's document.
    pub async fn send(self) -> Answer {
        let request = self.request.body(self.body).unwrap();
        let operation = operation(request.method(), request.uri().path());
        let (parts, body) = self.app.service.clone().oneshot(request).await.unwrap().into_parts();
        let is =
            |content_type: &str| parts.headers.get(header::CONTENT_TYPE).is_some_and(|value| value == content_type);
        // A stream has no end.
        let bytes = if is("text/event-stream") { Bytes::new() } else { body.collect().await.unwrap().to_bytes() };
        let is_json = is("application/json");
        let body = if is_json { serde_json::from_slice(&bytes).unwrap() } else { Value::Null };
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body };
        if let Some(operation) = operation {
            answer.assert_documented(&operation);
        }
        answer
    }
}

impl TestRequest<'_> {
    /// Sends the request; the answer is as the service made it, whatever its content type.
    pub async fn send_raw(self) -> Response {
        let request = self.request.body(self.body).unwrap();
        self.app.service.clone().oneshot(request).await.unwrap()
    }
}

/// An answer of the service.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The envelope's data.
    pub fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// The status and the error's code, which is empty for a success.
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or_default())
    }

    /// The error's details.
    pub fn details(&self) -> &Value {
        &self.body["error"]["details"]
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The value of a cookie that the answer sets.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.headers.get_all(header::SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
        let pairs = cookies.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
        pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }

    /// Fails unless the operation documents this answer.
    fn assert_documented(&self, operation: &str) {
        let pointer = format!("{operation}/responses/{}", self.status);
        let response = DOCUMENT.pointer(&pointer).unwrap_or_else(|| panic!("{pointer} is not documented: {self:?}"));
        // Operations share the components.
        let validator = validator(response["$ref"].as_str().map_or(&*pointer, |reference| &reference[1..]));
        let errors: Vec<String> = validator.iter_errors(&self.body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{pointer} does not describe {self:?}: {errors:?}");
    }
}

/// The validator of the answers that the document describes at this JSON pointer.
fn validator(response: &str) -> Arc<Validator> {
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = validators.get(response) {
        return Arc::clone(known);
    }
    let described = DOCUMENT.pointer(response).unwrap_or_else(|| panic!("{response} is not in the document"));
    let mut schema = described["content"]["application/json"]["schema"].clone();
    schema["components"] = DOCUMENT["components"].clone();
    let made = Arc::new(jsonschema::options().should_validate_formats(true).build(&schema).unwrap());
    validators.insert(response.to_owned(), Arc::clone(&made));
    made
}

/// Where the document has the operation of a request, as a JSON pointer.
fn operation(method: &Method, path: &str) -> Option<String> {
    let segments: Vec<&str> = dockhost_v2::own_path(path).split('/').collect();
    let matches = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        template.len() == segments.len()
            && template.iter().zip(&segments).all(|(part, segment)| part.starts_with('{') || part == segment)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    // A literal path wins over one with parameters.
    let template = paths.keys().filter(|template| matches(template)).min_by_key(|template| template.contains('{'))?;
    let pointer = format!("/paths/{}/{}", template.replace('/', "~1"), method.as_str().to_lowercase());
    DOCUMENT.pointer(&pointer).map(|_| pointer)
}

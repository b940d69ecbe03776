//! The API's document (OpenAPI 3.1): what does not belong to one endpoint, and helpers for those that describe theirs.

use std::collections::BTreeSet;

use utoipa::Modify;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, HeaderBuilder, OpenApi, Ref, RefOr, Required};

use super::consistency::LogPosition;
use super::extract::{BACKEND_COOKIE, USER_COOKIE};
use super::middleware::request_id::{REQUEST_ID, REQUEST_ID_PATTERN, TRACE_PARENT};
use super::response::documented;
use super::response::error::ErrorEnvelope;
use super::router;

/// What the document says about the whole API.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "DockHost",
        description = "On-demand Linux machines: containers with SSH on a fleet of registered hosts.\n\n\
                       Every answer but those of `/health…` is in an envelope: `{success, message, data}`, or \
                       `{success, message, error}` with a stable `error.code`. `docs/API.md` in the repository explains \
                       the rules that all endpoints share.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "Users", description = "Sign-up, sign-in and sign-out of people."),
        (name = "Instances", description = "A user's machines."),
        (name = "Webhooks", description = "What happens, sent to your URLs."),
        (name = "Backends", description = "The hosts that run the instances."),
        (name = "Administration", description = "What only administrators may do; anyone else gets 403 `forbidden`."),
        (name = "Server", description = "The server itself."),
    ),
    components(schemas(ErrorEnvelope, LogPosition)),
    modifiers(&SecuritySchemes),
)]
pub struct ApiDocument;

/// The name of `x-request-id` among the components.
const REQUEST_ID_COMPONENT: &str = "RequestId";

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut OpenApi) {
        let bearer = |description: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
            SecurityScheme::Http(scheme.description(Some(description)).build())
        };
        let cookie = |name: &str| {
            let description = "Set by sign-up and sign-in. The header `Authorization` wins over it.";
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(name, description)))
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("userToken", bearer("The `accessToken` of a user's sign-up or sign-in."));
        components.add_security_scheme("userCookie", cookie(USER_COOKIE));
        components.add_security_scheme(
            "backendToken",
            bearer("The `accessToken` of a backend's sign-up or sign-in, or its `DOCKHOST_API_KEY`."),
        );
        components.add_security_scheme("backendCookie", cookie(BACKEND_COOKIE));
    }
}

/// The document of the whole API.
pub fn document() -> OpenApi {
    let mut document = router::document_of_endpoints();
    let mut referenced = BTreeSet::new();
    for item in document.paths.paths.values_mut() {
        let PathItem { get, put, post, patch, delete, head, options, trace, .. } = item;
        for operation in [get, put, post, patch, delete, head, options, trace].into_iter().flatten() {
            describe_layers(operation);
            describe_optional_body(operation);
            referenced.extend(operation.responses.responses.values().filter_map(|response| match response {
                RefOr::Ref(response) => Some(response.ref_location.clone()),
                RefOr::T(_) => None,
            }));
        }
    }
    let components = document.components.get_or_insert_default();
    let is_referenced = |name: &str| referenced.contains(&Ref::from_response_name(name).ref_location);
    let responses = documented::components().filter(|(name, _)| is_referenced(name));
    components.responses.extend(responses.map(|(name, response)| (name, response.into())));
    let id = header("The request's id, also in the server's log.", text().pattern(Some(REQUEST_ID_PATTERN)));
    components.headers.insert(REQUEST_ID_COMPONENT.to_owned(), id.into());
    for (name, parameter) in layer_parameters() {
        components.parameters.insert(name.to_owned(), parameter.into());
    }
    document
}

/// The document as it is served and kept in `docs/openapi.json`.
///
/// # Errors
/// If it can't be written as JSON.
pub fn json() -> Result<String, serde_json::Error> {
    document().to_pretty_json()
}

/// The request headers that the layers around all routes read, by their names as components.
fn layer_parameters() -> [(&'static str, Parameter); 2] {
    let id = "Your id for this request: 1 to 64 letters, digits, `-`, `_`, `.`; anything else is replaced. It is logged \
              and stored for good, so it must not be personal.";
    let trace = "W3C trace context; stored with the events that follow from the request.";
    [
        (REQUEST_ID_COMPONENT, header_parameter(REQUEST_ID.as_str(), id, text())),
        ("TraceParent", header_parameter(TRACE_PARENT.as_str(), trace, text())),
    ]
}

/// Refers to what the layers around all routes read and add.
fn describe_layers(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    let reference = |name| RefOr::Ref(Ref::new(format!("#/components/parameters/{name}")));
    parameters.extend(layer_parameters().map(|(name, _)| reference(name)));
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.insert(REQUEST_ID.to_string(), request_id_header());
        }
    }
}

/// `Option<T>` as a body says that the body may be absent, not that it may be `null`.
fn describe_optional_body(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        if let RefOr::T(Content { schema: Some(schema), .. }) = content
            && let RefOr::T(Schema::OneOf(one_of)) = &*schema
            && let Some(item) = one_of.items.first().cloned()
        {
            *schema = item;
            body.required = Some(Required::False);
        }
    }
}

/// The header that every answer has.
pub fn request_id_header() -> RefOr<Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{REQUEST_ID_COMPONENT}")))
}

/// A response header.
pub fn header(description: &str, schema: ObjectBuilder) -> Header {
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}

/// An optional request header.
pub fn header_parameter(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// The schema of a text.
pub fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String))
}

/// The schema of a whole number that is not negative.
pub fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::Integer)).minimum(Some(0))
}

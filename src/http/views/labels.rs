//! The schema of labels.

use std::borrow::Cow;

use dockhost_domain::labels::Labels;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema as OpenApiSchema};
use utoipa::{PartialSchema, ToSchema};

/// The schema of [`Labels`]: an object whose names and values are those of labels.
pub struct LabelMap;

fn text(pattern: &str) -> OpenApiSchema {
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::String))
        .min_length(Some(1))
        .max_length(Some(63))
        .pattern(Some(pattern))
        .into()
}

impl PartialSchema for LabelMap {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .property_names(Some(text("^[a-z][a-z0-9._-]*$")))
            .additional_properties(Some(AdditionalProperties::RefOr(text("^[A-Za-z0-9][A-Za-z0-9._-]*$").into())))
            .max_properties(Some(Labels::MAX))
            .description(Some("Labels: names with a value each."))
            .into()
    }
}

impl ToSchema for LabelMap {
    fn name() -> Cow<'static, str> {
        "Labels".into()
    }
}

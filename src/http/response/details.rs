//! The `details` of an error answer.

use std::collections::BTreeMap;

use dockhost_domain::ids::{BackendId, InstanceId, OperationId};
use dockhost_domain::quota::QuotaExceeded;
use serde::Serialize;
use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::http::consistency::Stale;
use crate::http::processors;

/// The `details` of an error answer; which members there are depends on the code.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Details {
    /// The code says it all.
    None {},
    /// `validation_failed`, `weak_password`.
    Fields(Vec<FieldProblem>),
    /// `quota_exceeded`, of the number of instances.
    Quota(QuotaDetails),
    /// `quota_exceeded`, of what they may use.
    ResourceQuota(ResourceQuotaDetails),
    /// `no_backend`, `no_capacity`.
    Backends(BackendsDetails),
    /// `operation_failed`.
    Operation(OperationDetails),
    /// `not_found` in an answer that lacks events.
    Stale(StaleDetails),
}

/// An invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// How many instances the caller has, and may have.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QuotaDetails {
    /// Instances that the caller may have.
    pub limit: u32,
    /// Instances that the caller has.
    pub used: u32,
}

/// What the caller's instances, also stopped ones, may use in all, and how much of it they have.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResourceQuotaDetails {
    /// `cpu`, in processors, or `memoryMib`.
    pub resource: &'static str,
    /// What they may use.
    pub limit: f64,
    /// What those that are not deleted may use.
    pub used: f64,
    /// What the new one asks for.
    pub asked: f64,
}

impl From<QuotaExceeded> for Details {
    fn from(exceeded: QuotaExceeded) -> Self {
        let resource = |resource, [limit, used, asked]: [f64; 3]| {
            Self::ResourceQuota(ResourceQuotaDetails { resource, limit, used, asked })
        };
        match exceeded {
            QuotaExceeded::Instances { limit, used } => Self::Quota(QuotaDetails { limit, used }),
            QuotaExceeded::Cpu { limit, used, asked } => {
                resource("cpu", [limit.into(), used, asked].map(processors::of_millis))
            }
            QuotaExceeded::Memory { limit, used, asked } => {
                resource("memoryMib", [limit.into(), used, asked].map(|mib: u64| mib as f64))
            }
        }
    }
}

/// Why no backend takes another instance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BackendsDetails {
    /// The number of registered backends.
    pub backends: usize,
    /// How many of them can't take the instance, by reason: `not_connected`, `silent` (no heartbeats now), `engine_down`,
    /// `image_missing`, `image_fetching`, `full`, `memory`, `cpu`, `label_missing`, `already_tried`. More reasons may be added.
    pub reasons: BTreeMap<&'static str, usize>,
}

/// The operation that failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationDetails {
    /// The instance.
    #[schema(value_type = Uuid)]
    pub instance_id: InstanceId,
    /// The operation.
    #[schema(value_type = Uuid)]
    pub operation_id: OperationId,
    /// The reason of each backend that was tried, in order.
    pub reasons: Vec<BackendReason>,
}

/// What was asked for may be in events that the read model lacks.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StaleDetails {
    /// From where on events are missing.
    pub stale: Stale,
}

/// Why a backend does not run an instance.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendReason {
    /// The backend.
    #[schema(value_type = Uuid)]
    pub backend_id: BackendId,
    /// Its name.
    #[schema(required)]
    pub backend: Option<String>,
    /// One sentence.
    pub reason: String,
}

impl PartialSchema for Details {
    fn schema() -> RefOr<Schema> {
        let none = ObjectBuilder::new()
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .description(Some("No details."));
        AnyOfBuilder::new()
            .item(none)
            .item(ArrayBuilder::new().items(reference::<FieldProblem>()))
            .item(reference::<QuotaDetails>())
            .item(reference::<ResourceQuotaDetails>())
            .item(reference::<BackendsDetails>())
            .item(reference::<OperationDetails>())
            .item(reference::<StaleDetails>())
            .into()
    }
}

impl ToSchema for Details {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
            schemas.push((T::name().into_owned(), T::schema()));
            T::schemas(schemas);
        }
        add::<FieldProblem>(schemas);
        add::<QuotaDetails>(schemas);
        add::<ResourceQuotaDetails>(schemas);
        add::<BackendsDetails>(schemas);
        add::<OperationDetails>(schemas);
        add::<StaleDetails>(schemas);
    }
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

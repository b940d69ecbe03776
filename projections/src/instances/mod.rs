//! The read model `instances`: one document per instance. Queries join what belongs to its backend.

mod document;
mod fold;
mod of_all;
mod query;
mod view;

pub use document::{InstanceDocument, Instances};
pub use of_all::{InstanceFilter, InstanceSums, StatusNow, SumBy};
pub use query::InstanceRef;
pub(crate) use query::{LIVE, live};

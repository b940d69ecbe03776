//! The read model `instances`: one document per instance. In: tenancy events. Out: what the API shows of it, beside the
//! state that it is folded on. Its machine's name, address and condition belong to `backends` and are joined by the
//! reader.

mod document;
mod fold;
mod query;

pub use document::{InstanceDocument, Instances};
pub use query::InstanceRef;

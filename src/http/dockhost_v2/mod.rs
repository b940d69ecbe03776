//! The names of DockHostV2's API: clients of that server work with this one unchanged.
//!
//! This API's own names come first everywhere; this module has the other ones, in paths, in requests and in answers. Paths
//! and requests are not in the API's document, from which new clients are made; `docs/API.md` lists them.

mod answers;
mod paths;
mod requests;

pub use answers::{BackendNames, INSTANCE_NAMES, InstanceNames, PlacedOnNames};
pub use paths::{INSTANCES, PATHS, RESUME, STOP, own_path};
pub use requests::{NotOne, OtherName, only_instance_on, read_other_name};

//! The API's representations of users, webhooks, API tokens, SSH keys, backends, instances, operations and the health of a replica: one for answers to
//! commands and to queries.

mod api_token;
mod backend;
mod backend_with_heartbeat;
mod container_end;
pub mod health;
mod instance;
mod labels;
mod lifetime;
mod machine;
mod on_lost;
mod operation;
mod ssh_key;
mod under_way;
mod user;
mod webhook;

pub use api_token::{ApiToken, TokenScope};
pub use backend::{Backend, BackendStatus, version_of_document, version_of_machine};
pub use backend_with_heartbeat::BackendWithHeartbeat;
pub use container_end::{ContainerEnd, Restart};
pub use instance::{Instance, Surroundings, backend_reasons};
pub use labels::LabelMap;
pub use machine::Machine;
pub use on_lost::{InstanceMove, OnLost};
pub use operation::Operation;
pub use ssh_key::SshKey;
pub use under_way::UnderWay;
pub use user::{Role, User};
pub use webhook::{DeliveryView, Webhook, WebhookWithDeliveries};

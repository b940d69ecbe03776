//! Extractors: typed parts of a request, each with its errors in the documented envelope.

mod accept;
mod admin;
mod body;
mod caller;
mod client_address;
mod device;
mod given;
mod idempotency_key;
mod members;
pub mod origin;
mod precondition;
mod prefer;
mod read_position;
mod refresh_cookie;
mod repeatable;
mod url;

pub use accept::accepts;
pub use admin::CurrentAdmin;
pub use body::{Body, JsonObject};
pub use caller::{
    BACKEND_COOKIE, BackendCredential, CurrentBackend, CurrentSession, CurrentUser, InstanceUser, SignedInUser,
    USER_COOKIE, api_key_validity, bearer_of, principal,
};
pub use client_address::{ClientAddress, address_of};
pub use device::Device;
pub use given::given;
pub use idempotency_key::{IDEMPOTENCY_KEY, IdempotencyKey};
pub use precondition::{IfMatch, IfNoneMatch};
pub use prefer::{MAX_WAIT, Wait};
pub use read_position::ReadPosition;
pub use refresh_cookie::RefreshCookie;
pub use repeatable::Repeatable;
pub use url::{Path, Query};

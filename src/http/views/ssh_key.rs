//! An SSH key of an account, as its user sees it.

use dockhost_domain::account::AccountKey;
use dockhost_domain::ids::SshKeyId;
use dockhost_domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::ssh_key;

/// An SSH key of the account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SshKey {
    #[schema(value_type = Uuid)]
    id: SshKeyId,
    /// Unique in the account. `default` is the key of the profile.
    name: String,
    /// One line, as in a `.pub` file.
    ssh_public_key: String,
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    fingerprint: String,
    /// When it was added; null for the default key.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    added_at: Option<Timestamp>,
}

impl SshKey {
    /// The key.
    pub fn new(key: AccountKey<'_>) -> Self {
        Self {
            id: key.id,
            name: key.name().to_owned(),
            ssh_public_key: key.public_key.to_owned(),
            fingerprint: ssh_key::fingerprint(key.public_key).unwrap_or_default(),
            added_at: key.added_at,
        }
    }
}

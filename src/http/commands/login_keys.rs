//! The keys that a request names: by the names of the account's keys, or as public keys.

use dockhost_domain::account::Profile;
use dockhost_domain::ids::UserId;
use dockhost_domain::ssh_key::is_same_key;

use crate::auth::ssh_key;
use crate::http::response::{ApiError, Code};

/// The public keys, each once.
///
/// # Errors
/// `invalid_ssh_key` for what is neither a name nor a key.
pub fn resolve(user_id: UserId, profile: &Profile, named: &[String]) -> Result<Vec<String>, ApiError> {
    let mut keys = Vec::new();
    for (index, text) in named.iter().enumerate() {
        let by_name = profile.keys(user_id).find(|key| key.name() == text.trim());
        let key = match by_name {
            Some(key) => key.public_key.to_owned(),
            None => ssh_key::normalise(text).map_err(|bad| {
                let message = format!("keys[{index}] is not the name of one of your SSH keys, and as a key it {bad}");
                ApiError::new(Code::InvalidSshKey, message)
            })?,
        };
        add(&mut keys, key);
    }
    Ok(keys)
}

/// Adds a key that is not among the others.
pub fn add(keys: &mut Vec<String>, key: String) {
    if !keys.iter().any(|other| is_same_key(other, &key)) {
        keys.push(key);
    }
}

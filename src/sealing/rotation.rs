//! Changes the master key: wraps every stored key anew. It may be interrupted at any point and run again, and servers may
//! read and create keys meanwhile, if they accept both master keys.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::keyring::{KeyError, check_master_key};
use super::master::{MasterKey, Rewrap};
use super::store::KeyStore;

/// Keys that are replaced at the same time.
const CONCURRENCY: usize = 16;

/// What a rotation did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Keys that were wrapped anew.
    pub rewrapped: usize,
    /// Keys that the new master key wrapped already, in the last pass.
    pub unchanged: usize,
    /// The names of keys that neither master key unwraps, in order.
    pub unreadable: Vec<String>,
}

enum Step {
    Rewrapped,
    Unchanged,
    Unreadable(String),
    /// Something else changed the key, for example an erasure.
    Changed,
}

/// Wraps all keys anew that the other master key wrapped. `progress` is called with the number of keys that are done and
/// of all keys.
///
/// # Errors
/// [`KeyError::WrongMasterKey`], [`KeyError::Lost`], [`KeyError::Unavailable`], [`KeyError::NoRandomness`].
pub async fn rotate(
    store: &dyn KeyStore,
    master: &MasterKey,
    mut progress: impl FnMut(u64, u64),
) -> Result<Rotation, KeyError> {
    let mut rewrapped = 0;
    loop {
        let keys = store.get_many(usize::MAX).await.map_err(KeyError::Unavailable)?;
        check_master_key(master, |name| keys.iter().find(|(known, _)| known == name).map(|(_, key)| key.clone()))?;
        let (mut done, count) = (0, keys.len() as u64);
        let steps = futures::stream::iter(keys).map(|(name, key)| step(store, master, name, key));
        let mut steps = steps.buffer_unordered(CONCURRENCY);
        let (mut rotation, mut changed) = (Rotation::default(), false);
        while let Some(step) = steps.try_next().await? {
            match step {
                Step::Rewrapped => rewrapped += 1,
                Step::Unchanged => rotation.unchanged += 1,
                Step::Unreadable(name) => rotation.unreadable.push(name),
                Step::Changed => changed = true,
            }
            done += 1;
            progress(done, count);
        }
        if !changed {
            rotation.unreadable.sort_unstable();
            return Ok(Rotation { rewrapped, ..rotation });
        }
    }
}

async fn step(store: &dyn KeyStore, master: &MasterKey, name: String, key: Bytes) -> Result<Step, KeyError> {
    match master.rewrap(&name, &key).ok_or(KeyError::NoRandomness)? {
        Rewrap::Unchanged => Ok(Step::Unchanged),
        Rewrap::Unreadable => Ok(Step::Unreadable(name)),
        Rewrap::Rewrapped(new) => {
            let is_replaced = store.replace(&name, &key, new.into()).await.map_err(KeyError::Unavailable)?;
            Ok(if is_replaced { Step::Rewrapped } else { Step::Changed })
        }
    }
}

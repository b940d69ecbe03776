//! Sealing: encrypts personal values in events, one key per principal, so that destroying the key erases them in every
//! copy of the log.
//!
//! The keys are kept outside the log, in the bucket KEYS, wrapped by the master key from the environment.
//!
//! - `cipher`: AES-256-GCM with a random nonce. `master`: the master key.
//! - `seal`: finds the marked values in an event body and seals or opens them; no I/O.
//! - `keyring`: the keys of all principals, over two ports: `store` (the wrapped keys) and the lookup of erasures.
//! - `rotation`: wraps all stored keys by another master key.
//! - `claims`: the keyed hash that stands for a claimed name.

mod cipher;
mod claims;
mod keyring;
mod master;
#[cfg(test)]
mod memory;
mod rotation;
mod seal;
mod store;

pub use cipher::Cipher;
pub use claims::ClaimHasher;
pub use keyring::{KeyError, Keyring, LogAge, check_master_key};
pub use master::{InvalidMasterKey, MasterKey};
#[cfg(test)]
pub(crate) use memory::{MemoryErasures, MemoryKeyStore};
pub use rotation::{Rotation, rotate};
pub use seal::{Binding, SealError, erase, has_personal, has_sealed, open, seal};
pub use store::{BucketKeyStore, ErasureLookup, KeyStore};

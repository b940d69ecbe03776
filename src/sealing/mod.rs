//! Sealing: what keeps personal values readable only as long as their owner's key exists.
//!
//! In: event bodies with values marked `$personal`, and the master key from the environment. Out: the same bodies with
//! those values sealed under one key per principal, and back. The keys live outside the log, wrapped by the master
//! key, because the log is for ever and people are not: destroying a key erases what it sealed in every copy.
//!
//! - `cipher`: AES-256-GCM with a random nonce, the one primitive below everything here.
//! - `seal`: pure; finds the marked values in a body.
//! - `keyring`, `store`: whose key, where it is kept, and what a missing one means.
//! - `claims`: the keyed hash under which a name is claimed.

mod cipher;
mod claims;
mod keyring;
mod master;
mod seal;
mod store;

pub use cipher::Cipher;
pub use claims::ClaimHasher;
pub use keyring::{KeyError, Keyring, LogAge};
pub use master::{InvalidMasterKey, MasterKey};
pub use seal::{Binding, SealError, erase, has_personal, has_sealed, open, seal};
pub use store::{BucketKeyStore, ErasureLookup, KeyStore, MemoryErasures, MemoryKeyStore};

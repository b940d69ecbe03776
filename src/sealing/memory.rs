//! The ports of this folder in memory, for unit tests.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use dockhost_domain::ids::PrincipalId;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::store::{ErasureLookup, KeyStore};
use crate::common::error::Cause;

/// Wrapped keys in memory.
#[derive(Debug, Default)]
pub struct MemoryKeyStore(Mutex<HashMap<String, Bytes>>);

impl MemoryKeyStore {
    /// Removes a key, as a restore from an old backup would.
    pub fn lose(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl KeyStore for MemoryKeyStore {
    fn get_many(&self, limit: usize) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, Cause>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = keys.iter().take(limit).map(|(name, key)| (name.clone(), key.clone())).collect();
        std::future::ready(Ok(entries)).boxed()
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Cause>> {
        let stored = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        async move { Ok(stored) }.boxed()
    }

    fn get_or_create<'a>(&'a self, name: &'a str, value: Bytes) -> BoxFuture<'a, Result<Bytes, Cause>> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = keys.entry(name.to_owned()).or_insert(value).clone();
        async move { Ok(stored) }.boxed()
    }

    fn replace<'a>(&'a self, name: &'a str, old: &'a Bytes, new: Bytes) -> BoxFuture<'a, Result<bool, Cause>> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = keys.get_mut(name).filter(|stored| *stored == old);
        std::future::ready(Ok(stored.map(|stored| *stored = new).is_some())).boxed()
    }

    fn destroy<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Cause>> {
        self.lose(name);
        std::future::ready(Ok(())).boxed()
    }
}

/// Erased principals in memory.
#[derive(Debug, Default)]
pub struct MemoryErasures(Mutex<HashSet<PrincipalId>>);

impl MemoryErasures {
    /// From now on this principal counts as erased.
    pub fn erase(&self, principal: PrincipalId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(principal);
    }
}

impl ErasureLookup for MemoryErasures {
    fn is_erased(&self, principal: PrincipalId) -> BoxFuture<'_, Result<bool, Cause>> {
        let erased = self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&principal);
        std::future::ready(Ok(erased)).boxed()
    }
}

//! Resolves the hosts of webhooks, and refuses those that have an address which may not be called. The connection goes to an address
//! that was checked, because nothing resolves the name again.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::address::AddressRules;
use super::sender::Failure;
use crate::common::error::Cause;

/// Names that are resolved at once. The system's resolver can't be stopped: it occupies one of the 512 threads that the runtime has
/// for such work until it gives up, long after the attempt has ended. Names that never resolve must not occupy all of them.
const MAX_LOOKUPS: usize = 256;

/// The names that are being resolved.
#[derive(Debug, Clone)]
pub struct Lookups(Arc<Semaphore>);

impl Default for Lookups {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LOOKUPS)))
    }
}

impl Lookups {
    /// Runs a look-up. It counts until its end, also if the caller is dropped before.
    async fn run<T>(&self, lookup: impl Future<Output = T> + Send + 'static) -> Result<T, Cause>
    where
        T: Send + 'static,
    {
        let place = Arc::clone(&self.0).acquire_owned().await?;
        let task = tokio::spawn(async move {
            let _place = place;
            lookup.await
        });
        Ok(task.await?)
    }
}

/// Resolves names, and fails if one of the addresses may not be called.
#[derive(Debug, Clone)]
pub struct CheckedResolver {
    /// Which addresses may be called.
    pub rules: AddressRules,
    /// Limits the look-ups.
    pub lookups: Lookups,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(resolve(self.clone(), name))
    }
}

async fn resolve(CheckedResolver { rules, lookups }: CheckedResolver, name: Name) -> Result<Addrs, Cause> {
    let lookup = async move {
        let found = tokio::net::lookup_host((name.as_str(), 0)).await;
        found.map(Iterator::collect::<Vec<SocketAddr>>)
    };
    let found = lookups.run(lookup).await?.map_err(|_| Failure::Unresolved)?;
    if found.is_empty() {
        return Err(Failure::Unresolved.into());
    }
    // One of them alone would let the owner of the name choose what is reached.
    if !found.iter().all(|address| rules.allow(address.ip())) {
        return Err(Failure::AddressNotAllowed.into());
    }
    Ok(Box::new(found.into_iter()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lookup_counts_until_its_end_also_if_nobody_waits_for_it() {
        let lookups = Lookups(Arc::new(Semaphore::new(1)));
        let (end, ended) = oneshot::channel::<()>();
        let abandoned = timeout(Duration::from_secs(1), lookups.run(ended)).await;
        assert!(abandoned.is_err());
        assert!(lookups.run(async {}).now_or_never().is_none(), "the name is still being resolved");
        end.send(()).unwrap();
        lookups.run(async {}).await.unwrap();
    }
}

//! Which servers a [`World`](super::World) consists of, and the proxies between its parts.

use std::net::SocketAddr;
use std::sync::Arc;

use super::proxy::Proxy;
use super::{Hosts, Mongo, Mongods, Nats};

/// The servers of a world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Topology {
    pub broker: Nodes,
    pub database: Members,
    /// Whether each replica and agent connects through its own proxies.
    pub proxied: bool,
}

/// The broker's nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Nodes {
    /// One nats-server; streams have one copy.
    #[default]
    One,
    /// A cluster; streams have three copies.
    Three,
    /// A cluster whose nodes can be isolated.
    ThreeProxiedRoutes,
}

/// The database's members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Members {
    /// The test's own database on the shared mongod, which tests must not kill.
    #[default]
    Shared,
    /// The test's own mongod.
    Own,
    /// The test's own replica set of three. It can't be proxied, because its members tell clients their addresses.
    OwnSet,
}

impl Topology {
    /// One nats-server and the shared mongod.
    pub const ONE: Self = Self { broker: Nodes::One, database: Members::Shared, proxied: false };
    /// A cluster of three and a replica set of three.
    pub const THREE: Self = Self { broker: Nodes::Three, database: Members::OwnSet, proxied: false };

    /// The same with proxies.
    #[must_use]
    pub const fn proxied(self) -> Self {
        Self { proxied: true, ..self }
    }

    /// The same with its own mongod.
    #[must_use]
    pub const fn with_own_database(self) -> Self {
        Self { database: Members::Own, ..self }
    }

    pub(crate) async fn start(self, hosts: Option<&Arc<Hosts>>) -> (Nats, Mongo, Option<Mongods>) {
        let broker = async {
            match self.broker {
                Nodes::One => Nats::start_on(hosts).await,
                Nodes::Three => Nats::cluster_on(hosts).await,
                Nodes::ThreeProxiedRoutes => Nats::cluster_with_proxied_routes().await,
            }
        };
        let database = async {
            let mongods = match self.database {
                Members::Shared => return (Mongo::shared().await, None),
                Members::Own => Mongods::start_on(hosts, 1).await,
                Members::OwnSet => Mongods::start_on(hosts, 3).await,
            };
            (mongods.database(), Some(mongods))
        };
        let (nats, (mongo, mongods)) = tokio::join!(broker, database);
        (nats, mongo, mongods)
    }
}

/// The proxies of one replica or agent; none if it connects directly.
#[derive(Debug, Default)]
pub struct Proxies {
    /// One to each node of the broker.
    pub broker: Vec<Proxy>,
    /// The replica's proxy to a single mongod.
    pub database: Option<Proxy>,
}

impl Proxies {
    /// Starts proxies to these nodes and to the mongod of a URI.
    pub(crate) async fn start(nodes: &[SocketAddr], mongod: Option<&str>) -> Self {
        let mut proxies = Self::default();
        for node in nodes {
            proxies.broker.push(Proxy::to(*node).await);
        }
        if let Some(address) = mongod.and_then(single) {
            proxies.database = Some(Proxy::to(address).await);
        }
        proxies
    }

    /// The broker's URL through the proxies.
    pub(crate) fn nats_url(&self) -> Option<String> {
        let urls: Vec<_> = self.broker.iter().map(|proxy| format!("nats://{}", proxy.address())).collect();
        (!urls.is_empty()).then(|| urls.join(","))
    }

    /// The database's URI through the proxy.
    pub(crate) fn mongodb_uri(&self, uri: &str) -> Option<String> {
        let (address, proxy) = (single(uri)?, self.database.as_ref()?);
        Some(uri.replacen(&address.to_string(), &proxy.address().to_string(), 1))
    }

    /// All proxies.
    pub fn all(&self) -> impl Iterator<Item = &Proxy> {
        self.broker.iter().chain(&self.database)
    }

    /// Cuts every connection to the broker.
    pub fn cut_broker(&self) {
        self.broker.iter().for_each(Proxy::cut);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.all().for_each(Proxy::heal);
    }
}

/// The address in the URI of a single mongod.
fn single(uri: &str) -> Option<SocketAddr> {
    uri.strip_prefix("mongodb://")?.split('/').next()?.parse().ok()
}

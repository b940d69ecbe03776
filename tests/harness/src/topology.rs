//! What a [`World`](super::World) is made of, and the cables between its parts.
//!
//! In: a choice. Out: running servers, and for a client of them the URLs that it is given.

use std::net::SocketAddr;

use super::proxy::Proxy;
use super::{Mongo, Mongods, Nats};

/// Which servers there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Topology {
    pub broker: Nodes,
    pub database: Members,
    /// Whether each replica and each agent reaches its servers through proxies of its own.
    pub proxied: bool,
}

/// The broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Nodes {
    /// A lone nats-server: streams of one copy.
    #[default]
    One,
    /// A cluster: streams of three copies.
    Three,
    /// A cluster whose nodes can be parted from one another.
    ThreeParted,
}

/// The database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Members {
    /// A database of the test's own on the run's one mongod, which must not be touched.
    #[default]
    Shared,
    /// A mongod of the test's own, which may be killed.
    Own,
    /// A replica set of three. Its members tell clients where they are, so that no proxy can stand before them.
    OwnSet,
}

impl Topology {
    /// A lone nats-server and the run's mongod.
    pub const ONE: Self = Self { broker: Nodes::One, database: Members::Shared, proxied: false };
    /// Three nodes and a set of three.
    pub const THREE: Self = Self { broker: Nodes::Three, database: Members::OwnSet, proxied: false };

    /// The same with a proxy in each cable.
    #[must_use]
    pub const fn proxied(self) -> Self {
        Self { proxied: true, ..self }
    }

    /// The same with a database that may be killed.
    #[must_use]
    pub const fn with_own_database(self) -> Self {
        Self { database: Members::Own, ..self }
    }

    pub(crate) async fn start(self) -> (Nats, Mongo, Option<Mongods>) {
        let broker = async {
            match self.broker {
                Nodes::One => Nats::start().await,
                Nodes::Three => Nats::cluster().await,
                Nodes::ThreeParted => Nats::cluster_with_proxied_routes().await,
            }
        };
        let database = async {
            let mongods = match self.database {
                Members::Shared => return (Mongo::shared().await, None),
                Members::Own => Mongods::start(1).await,
                Members::OwnSet => Mongods::start(3).await,
            };
            (mongods.database(), Some(mongods))
        };
        let (nats, (mongo, mongods)) = tokio::join!(broker, database);
        (nats, mongo, mongods)
    }
}

/// The cables of one replica or agent; none where it is connected without a proxy.
#[derive(Debug, Default)]
pub struct Cables {
    /// To each node of the broker.
    pub broker: Vec<Proxy>,
    /// To the database, if it is a single mongod and this is a replica.
    pub database: Option<Proxy>,
}

impl Cables {
    /// To these nodes, and to the mongod of a URI.
    pub(crate) async fn lay(nodes: &[SocketAddr], mongod: Option<&str>) -> Self {
        let mut cables = Self::default();
        for node in nodes {
            cables.broker.push(Proxy::to(*node).await);
        }
        if let Some(address) = mongod.and_then(single) {
            cables.database = Some(Proxy::to(address).await);
        }
        cables
    }

    /// The broker's URL as this client is given it.
    pub(crate) fn nats_url(&self) -> Option<String> {
        let urls: Vec<_> = self.broker.iter().map(|cable| format!("nats://{}", cable.address())).collect();
        (!urls.is_empty()).then(|| urls.join(","))
    }

    /// The database's URI as this client is given it.
    pub(crate) fn mongodb_uri(&self, uri: &str) -> Option<String> {
        let (address, cable) = (single(uri)?, self.database.as_ref()?);
        Some(uri.replacen(&address.to_string(), &cable.address().to_string(), 1))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Proxy> {
        self.broker.iter().chain(&self.database)
    }

    /// Cuts every cable to the broker.
    pub fn cut_broker(&self) {
        self.broker.iter().for_each(Proxy::cut);
    }

    /// Makes every cable whole.
    pub fn heal(&self) {
        self.all().for_each(Proxy::heal);
    }
}

/// The address in the URI of a single mongod.
fn single(uri: &str) -> Option<SocketAddr> {
    uri.strip_prefix("mongodb://")?.split('/').next()?.parse().ok()
}

//! The stages of a replica's shutdown. Each begins when its token is cancelled.

use tokio_util::sync::CancellationToken;

/// The stages, in their order.
#[derive(Debug, Clone, Default)]
pub struct ShutdownStages {
    /// `/health` answers 503, so that load balancers send no new requests, and the leader lets another replica lead.
    /// Everything is still served.
    pub announced: CancellationToken,
    /// No new connections. Commands that wait for their outcome answer at once; requests in flight end.
    pub draining: CancellationToken,
    /// The background tasks end.
    pub ended: CancellationToken,
}

impl ShutdownStages {
    /// Begins all stages.
    pub fn end(&self) {
        self.announced.cancel();
        self.draining.cancel();
        self.ended.cancel();
    }
}

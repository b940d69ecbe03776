//! Which stream the reports went to. If it is lost and made again, reports that it had acknowledged may be lost with it,
//! unread; then each instance is reported again.

use std::sync::Arc;

use tokio::sync::watch;

/// When the stream of reports was created, by what servers say, and to which one this agent has reported; clones share it.
#[derive(Debug, Clone, Default)]
pub struct ReportsStream(Arc<watch::Sender<Known>>);

/// Creation times in Unix milliseconds. A stream that was made again has a later one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    latest: Option<u64>,
    /// `None` until a server says it.
    reported_to: Option<u64>,
    is_reporting: bool,
}

impl Known {
    /// Takes in what a server says, which may be outdated. Whether that is news.
    fn observe(&mut self, created_at: Option<u64>) -> bool {
        let is_news = created_at > self.latest;
        self.latest = self.latest.max(created_at);
        if self.is_reporting {
            self.reported_to = self.reported_to.or(self.latest);
        }
        is_news
    }

    const fn is_replaced(self) -> bool {
        match (self.reported_to, self.latest) {
            (Some(before), Some(latest)) => latest > before,
            _ => false,
        }
    }

    /// From now on the reports go to the latest stream. Whether those before went to another one.
    const fn switch(&mut self) -> bool {
        let is_replaced = self.is_replaced();
        (self.reported_to, self.is_reporting) = (self.latest, true);
        is_replaced
    }
}

impl ReportsStream {
    /// Takes in a server's answer.
    pub fn observe(&self, created_at: Option<u64>) {
        self.0.send_if_modified(|known| known.observe(created_at));
    }

    /// Begins to report, after a hello. Whether everything has to be reported again, because the stream that the earlier
    /// reports went to is gone.
    #[must_use]
    pub fn switch(&self) -> bool {
        let mut is_replaced = false;
        self.0.send_modify(|known| is_replaced = known.switch());
        is_replaced
    }

    /// Waits until the stream is another one than the one that this agent reports to.
    pub async fn replaced(&self) {
        // Fails only without a sender, and this is one.
        let _ = self.0.subscribe().wait_for(|known| known.is_replaced()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_stream_that_is_newer_than_the_one_reported_to_is_a_replacement() {
        let mut known = Known::default();
        assert!(!known.switch(), "the server does not say");
        assert!(known.observe(Some(7)) && !known.is_replaced());
        for outdated in [None, Some(6), Some(7)] {
            assert!(!known.observe(outdated) && !known.is_replaced());
        }
        assert!(!known.switch(), "hello again");
        assert!(known.observe(Some(8)) && known.is_replaced());
        assert!(known.switch());
        assert!(!known.is_replaced() && !known.switch());
    }
}

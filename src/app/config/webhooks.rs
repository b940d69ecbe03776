//! Where webhooks may go, and for how long they are tried.

use std::time::Duration;

use clap::Args;
use ipnet::IpNet;

use super::parse_network;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where webhooks may go, and for how long they are tried.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookArgs {
    /// Networks that webhooks may call although they are not public, also over http; by default none.
    #[arg(long, env = "DOCKHOST_WEBHOOK_NETWORKS", value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    pub webhook_networks: Vec<IpNet>,
    /// For how many days the receiver of a webhook may take nothing before the webhook is disabled.
    #[arg(long, env = "DOCKHOST_WEBHOOK_GIVE_UP_DAYS", value_name = "DAYS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=365))]
    pub webhook_give_up_days: u16,
}

impl WebhookArgs {
    /// How long the receiver of a webhook may take nothing before the webhook is disabled.
    #[must_use]
    pub fn give_up_after(&self) -> Duration {
        DAY.saturating_mul(self.webhook_give_up_days.into())
    }
}

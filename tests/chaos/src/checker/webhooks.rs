//! Decides the command of each event of webhooks again.

use dockhost_domain::aggregate::Command;
use dockhost_domain::event::Event;
use dockhost_domain::webhook::{
    AddWebhook, Added, ChangeWebhook, Changed, DisableWebhook, RemoveWebhook, ResumeWebhook, RotateSecret,
    SecretRotated, Webhooks, WebhooksEvent,
};

use super::decisions::{Check, same};

/// Whether the rules decide this event on the state before it. An erased user's values are no longer readable.
pub(super) fn check(state: &Webhooks, event: &WebhooksEvent, recorded: &Event) -> Check {
    match event {
        WebhooksEvent::Added(Added { webhook_id, url, signing_secret, filter, after }) => {
            let (Some(url), Some(secret)) = (url.plain(), signing_secret.plain()) else { return Ok(()) };
            let (url, signing_secret) = (url.clone(), secret.clone());
            let add =
                AddWebhook { webhook_id: *webhook_id, url, signing_secret, filter: filter.clone(), after: *after };
            same(add.decide(state), recorded)
        }
        WebhooksEvent::Changed(Changed { webhook_id, url }) => {
            let Some(url) = url.plain() else { return Ok(()) };
            same(ChangeWebhook { webhook_id: *webhook_id, url: url.clone() }.decide(state), recorded)
        }
        WebhooksEvent::SecretRotated(SecretRotated { webhook_id, signing_secret, former_until }) => {
            let Some(secret) = signing_secret.plain() else { return Ok(()) };
            let (webhook_id, former_until) = (*webhook_id, *former_until);
            let rotate = RotateSecret { webhook_id, signing_secret: secret.clone(), former_until };
            same(rotate.decide(state), recorded)
        }
        WebhooksEvent::Resumed(resumed) => {
            same(ResumeWebhook { webhook_id: resumed.webhook_id, after: resumed.after }.decide(state), recorded)
        }
        WebhooksEvent::Disabled(disabled) => {
            let webhook = state.get(disabled.webhook_id).ok_or("disables a webhook that does not exist")?;
            let (webhook_id, reason) = (disabled.webhook_id, disabled.reason);
            let disable = DisableWebhook { webhook_id, began_with: webhook.beginning.event, reason };
            same(disable.decide(state), recorded)
        }
        WebhooksEvent::Removed(removed) => {
            same(RemoveWebhook { webhook_id: removed.webhook_id }.decide(state), recorded)
        }
    }
}

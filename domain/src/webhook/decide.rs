//! What users, and the leader, do with webhooks.

use super::{
    Added, Changed, Disabled, DisabledReason, EventFilter, Removed, Resumed, SecretRotated, SigningSecret, WebhookUrl,
    Webhooks, WebhooksEvent,
};
use crate::aggregate::{Command, CommandClass};
use crate::ids::{EventId, WebhookId};
use crate::personal::Personal;
use crate::timestamp::Timestamp;

/// The most webhooks of one user.
pub const MAX_WEBHOOKS: usize = 10;

/// The user has as many webhooks as they may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("you have {MAX_WEBHOOKS} webhooks; remove some first")]
pub struct TooManyWebhooks;

/// There is no such webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such webhook")]
pub struct NoSuchWebhook;

/// Register a webhook.
#[derive(Debug, Clone)]
pub struct AddWebhook {
    /// Its id.
    pub webhook_id: WebhookId,
    /// Where deliveries go.
    pub url: WebhookUrl,
    /// What they are signed with.
    pub signing_secret: SigningSecret,
    /// Which events of everybody; none for what concerns its user. The caller checks that its user may see them.
    pub filter: Option<EventFilter>,
    /// The log's sequence after which deliveries begin.
    pub after: u64,
}

impl Command for AddWebhook {
    type Aggregate = Webhooks;
    type Rejection = TooManyWebhooks;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Webhooks) -> Result<Option<WebhooksEvent>, TooManyWebhooks> {
        if state.all.len() >= MAX_WEBHOOKS {
            return Err(TooManyWebhooks);
        }
        let Self { webhook_id, url, signing_secret, filter, after } = self.clone();
        let (url, signing_secret) = (url.into(), signing_secret.into());
        Ok(Some(WebhooksEvent::Added(Added { webhook_id, url, signing_secret, filter, after })))
    }
}

/// Send deliveries to another URL; nothing if it is the same.
#[derive(Debug, Clone)]
pub struct ChangeWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Where deliveries go.
    pub url: WebhookUrl,
}

impl Command for ChangeWebhook {
    type Aggregate = Webhooks;
    type Rejection = NoSuchWebhook;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Webhooks) -> Result<Option<WebhooksEvent>, NoSuchWebhook> {
        let webhook = state.all.get(&self.webhook_id).ok_or(NoSuchWebhook)?;
        let url = Personal::from(self.url.clone());
        let is_other = webhook.url != url;
        Ok(is_other.then_some(WebhooksEvent::Changed(Changed { webhook_id: self.webhook_id, url })))
    }
}

/// Sign with another secret.
#[derive(Debug, Clone)]
pub struct RotateSecret {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The new secret.
    pub signing_secret: SigningSecret,
    /// Until when deliveries are signed with the one before as well.
    pub former_until: Timestamp,
}

impl Command for RotateSecret {
    type Aggregate = Webhooks;
    type Rejection = NoSuchWebhook;

    /// Whoever fears that a secret is known must be able to replace it.
    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Webhooks) -> Result<Option<WebhooksEvent>, NoSuchWebhook> {
        let Self { webhook_id, signing_secret, former_until } = self.clone();
        state.all.get(&webhook_id).ok_or(NoSuchWebhook)?;
        let signing_secret = signing_secret.into();
        Ok(Some(WebhooksEvent::SecretRotated(SecretRotated { webhook_id, signing_secret, former_until })))
    }
}

/// Go on with deliveries; nothing if they go on and no position is given.
#[derive(Debug, Clone, Copy)]
pub struct ResumeWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The log's sequence after which they go on; none for where they stopped.
    pub after: Option<u64>,
}

impl Command for ResumeWebhook {
    type Aggregate = Webhooks;
    type Rejection = NoSuchWebhook;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Webhooks) -> Result<Option<WebhooksEvent>, NoSuchWebhook> {
        let Self { webhook_id, after } = *self;
        let webhook = state.all.get(&webhook_id).ok_or(NoSuchWebhook)?;
        let changes = webhook.disabled.is_some() || after.is_some();
        Ok(changes.then_some(WebhooksEvent::Resumed(Resumed { webhook_id, after })))
    }
}

/// Stop deliveries that nobody takes. Nothing if the webhook is gone or disabled, or was begun again since the leader looked.
#[derive(Debug, Clone, Copy)]
pub struct DisableWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The event that had begun the deliveries that failed.
    pub began_with: EventId,
    /// Why.
    pub reason: DisabledReason,
}

impl Command for DisableWebhook {
    type Aggregate = Webhooks;
    type Rejection = std::convert::Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Webhooks) -> Result<Option<WebhooksEvent>, std::convert::Infallible> {
        let Self { webhook_id, began_with, reason } = *self;
        let fails = state.all.get(&webhook_id);
        let fails = fails.is_some_and(|found| found.beginning.event == began_with && found.disabled.is_none());
        Ok(fails.then_some(WebhooksEvent::Disabled(Disabled { webhook_id, reason })))
    }
}

/// Remove a webhook.
#[derive(Debug, Clone, Copy)]
pub struct RemoveWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
}

impl Command for RemoveWebhook {
    type Aggregate = Webhooks;
    type Rejection = NoSuchWebhook;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Webhooks) -> Result<Option<WebhooksEvent>, NoSuchWebhook> {
        let webhook_id = self.webhook_id;
        state.all.get(&webhook_id).ok_or(NoSuchWebhook)?;
        Ok(Some(WebhooksEvent::Removed(Removed { webhook_id })))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::{at, event_id, given};
    use crate::webhook::Beginning;

    fn id(n: u128) -> WebhookId {
        WebhookId::from_uuid(Uuid::from_u128(n))
    }

    fn url(host: &str) -> WebhookUrl {
        format!("https://{host}/hook").parse().unwrap()
    }

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::new(format!("whsec_{text}"))
    }

    fn add(n: u128) -> AddWebhook {
        let (url, signing_secret) = (url("example.org"), secret("first"));
        AddWebhook { webhook_id: id(n), url, signing_secret, filter: None, after: 7 }
    }

    fn added(n: u128) -> WebhooksEvent {
        add(n).decide(&Webhooks::default()).unwrap().unwrap()
    }

    fn disable(began_with: u128) -> DisableWebhook {
        DisableWebhook { webhook_id: id(1), began_with: event_id(began_with), reason: DisabledReason::Failing }
    }

    fn disabled() -> WebhooksEvent {
        WebhooksEvent::Disabled(Disabled { webhook_id: id(1), reason: DisabledReason::Failing })
    }

    fn resumed(after: Option<u64>) -> WebhooksEvent {
        WebhooksEvent::Resumed(Resumed { webhook_id: id(1), after })
    }

    #[test]
    fn webhook_above_the_limit_is_rejected_until_another_is_removed() {
        let many = (0..MAX_WEBHOOKS as u128).map(added);
        given(many)
            .when(add(99))
            .then_rejected(TooManyWebhooks)
            .when(RemoveWebhook { webhook_id: id(0) })
            .then(WebhooksEvent::Removed(Removed { webhook_id: id(0) }))
            .when(RemoveWebhook { webhook_id: id(0) })
            .then_rejected(NoSuchWebhook)
            .when(add(99))
            .then(added(99));
    }

    #[test]
    fn webhook_changed_to_the_same_url_changes_nothing() {
        let change = |host| ChangeWebhook { webhook_id: id(1), url: url(host) };
        let changed = WebhooksEvent::Changed(Changed { webhook_id: id(1), url: url("example.net").into() });
        let webhooks =
            given([added(1)]).when(change("example.org")).then_nothing().when(change("example.net")).then(changed);
        assert_eq!(webhooks.state.get(id(1)).unwrap().url, Personal::from(url("example.net")));
    }

    #[test]
    fn secret_that_was_replaced_signs_as_well_until_its_end() {
        let rotate = RotateSecret { webhook_id: id(1), signing_secret: secret("second"), former_until: at(100) };
        let rotated = WebhooksEvent::SecretRotated(SecretRotated {
            webhook_id: id(1),
            signing_secret: secret("second").into(),
            former_until: at(100),
        });
        let webhooks = given([added(1)]).when(rotate).then(rotated).state;
        let webhook = webhooks.get(id(1)).unwrap();
        let secrets = |now| webhook.secrets(at(now)).cloned().collect::<Vec<_>>();
        assert_eq!(secrets(99), [secret("second"), secret("first")]);
        assert_eq!(secrets(100), [secret("second")]);
    }

    #[test]
    fn webhook_resumed_goes_on_where_it_stopped_or_after_a_position() {
        let resume = |after| ResumeWebhook { webhook_id: id(1), after };
        let webhooks = given([added(1)])
            .when(resume(None))
            .then_nothing()
            .when(disable(1))
            .then(disabled())
            .when(resume(None))
            .then(resumed(None));
        let beginning = |webhooks: &Webhooks| webhooks.get(id(1)).unwrap().beginning;
        assert_eq!(beginning(&webhooks.state), Beginning { event: event_id(1), after: 7 });
        let webhooks = webhooks.when(resume(Some(3))).then(resumed(Some(3)));
        assert_eq!(beginning(&webhooks.state), Beginning { event: event_id(4), after: 3 });
    }

    #[test]
    fn webhook_begun_again_is_not_disabled_for_what_failed_before() {
        given([added(1), resumed(Some(3))])
            .when(disable(1))
            .then_nothing()
            .when(disable(2))
            .then(disabled())
            .when(disable(2))
            .then_nothing();
    }
}

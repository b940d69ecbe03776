//! When an instance was last used, as its autostop counts: its idle period begins with the last of these facts.

use serde::{Deserialize, Serialize};

use super::event::TenancyEvent;
use super::instance::Instance;
use super::lifetime::{Fact, MovedBy};
use crate::aggregate::Meta;
use crate::ids::InstanceId;
use crate::timestamp::Timestamp;
use crate::wire::DesiredState;

/// Somebody was connected to the instance by SSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// The instance.
    pub instance_id: InstanceId,
    /// When its agent last saw a connection.
    pub at: Timestamp,
}

impl Instance {
    /// The fact with which its idle period began.
    #[must_use]
    pub fn idle_since(&self) -> MovedBy {
        let created = MovedBy { fact: Fact::Created, at: self.created_at };
        self.lifetime.last_use.map_or(created, |last| created.or_later(last))
    }

    /// Begins the idle period anew, if the event is such a fact. An activity that was seen before the period began does not.
    pub(super) fn record_use(&mut self, event: &TenancyEvent, meta: &Meta) {
        let (fact, at) = match event {
            TenancyEvent::ResumeRequested(_) => (Fact::Resumed, meta.time),
            TenancyEvent::Administered(change) if change.wanted == DesiredState::Running => (Fact::Resumed, meta.time),
            TenancyEvent::Moved(_) => (Fact::Recreated, meta.time),
            TenancyEvent::SettingsChanged(changed)
                if changed.lifetime.autostop_minutes != self.lifetime.set.autostop_minutes =>
            {
                (Fact::Changed, meta.time)
            }
            TenancyEvent::Activity(activity) => (Fact::Activity, activity.at),
            _ => return,
        };
        let known = self.idle_since();
        if at > known.at {
            self.lifetime.last_use = Some(MovedBy { fact, at });
        }
    }
}

//! Until when an instance may run: the time that its owner set, the time to live that the group of its owner allows, and the autostop
//! of both, which stops what nobody uses.
//!
//! [`Instance::stops_at`] computes the moment and names the fact that moved it last. Every limit that is set applies, and the
//! earliest moment counts. An instance that is stopped keeps its files. It can't be resumed until its time to live is extended; after
//! an autostop it can, which begins a new idle period.

use std::convert::Infallible;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Tenancy;
use super::activity::Activity;
use super::change::ChangeRejected;
use super::event::{StopReason, TenancyEvent};
use super::instance::Instance;
use super::policy::Policy;
use super::progress::{OperationKind, Progress};
use crate::aggregate::{Command, CommandClass, Meta};
use crate::group::GroupLimits;
use crate::ids::InstanceId;
use crate::minutes::Minutes;
use crate::timestamp::Timestamp;
use crate::wire::DesiredState;

/// Until when an instance may run, as its owner set it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifetime {
    /// When it is stopped; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// After how long without an SSH connection it is stopped; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostop_minutes: Option<Minutes>,
}

impl Lifetime {
    /// Whether its owner set no limit.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is over.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// What can move the moment at which an instance is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// The instance was created.
    Created,
    /// It was resumed.
    Resumed,
    /// It got a new container on another backend.
    Recreated,
    /// Somebody was connected to it.
    Activity,
    /// Its owner changed the limit.
    Changed,
    /// Its owner was put into the group.
    GroupJoined,
    /// An administrator changed the limit of the group.
    GroupChanged,
}

/// The fact that moved a moment last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovedBy {
    /// What happened.
    pub fact: Fact,
    /// When.
    pub at: Timestamp,
}

impl MovedBy {
    /// This, or the other if that was later.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        if other.at > self.at { other } else { self }
    }
}

/// When an instance is stopped, and why then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopsAt {
    /// When.
    pub at: Timestamp,
    /// For which limit.
    pub reason: StopReason,
    /// What moved that moment last.
    pub moved_by: MovedBy,
}

/// Until when an instance may run, and when its owner set that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceLifetime {
    /// As its owner set it.
    #[serde(flatten)]
    pub set: Lifetime,
    /// When its owner changed the time since the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiry_changed_at: Option<Timestamp>,
    /// The last fact since its creation with which an idle period began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_use: Option<MovedBy>,
}

impl InstanceLifetime {
    /// Of a new instance.
    #[must_use]
    pub const fn requested(set: Lifetime) -> Self {
        Self { set, expiry_changed_at: None, last_use: None }
    }

    /// Whether its owner never set a limit, and nothing began an idle period since its creation.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Its owner changed it.
    pub(super) fn change(&mut self, set: Lifetime, meta: &Meta) {
        if set.expires_at != self.set.expires_at {
            self.expiry_changed_at = Some(meta.time);
        }
        self.set = set;
    }
}

impl Instance {
    /// When it is stopped, if nothing moves that moment any more; `None` if it is not to run, or no limit is set.
    #[must_use]
    pub fn stops_at(&self, group: &GroupLimits) -> Option<StopsAt> {
        let is_to_run = self.desired == DesiredState::Running && self.current_placement.is_some();
        let idle = self.autostops(group, self.idle_since()).map(|(stop, _)| stop);
        let stops = self.time_to_live(group).into_iter().chain(idle);
        // Of two at the same time, the first.
        if is_to_run { stops.min_by_key(|stop| stop.at) } else { None }
    }

    /// Its own autostop and that of its owner's group, if it is idle since this fact, each with its period.
    fn autostops(&self, group: &GroupLimits, idle_since: MovedBy) -> impl Iterator<Item = (StopsAt, Minutes)> {
        let own = self.lifetime.set.autostop_minutes.map(|minutes| (minutes, idle_since));
        let of_group = group.autostop.map(|limit| (limit.minutes, idle_since.or_later(limit.moved_by)));
        [own, of_group].into_iter().flatten().map(|(minutes, moved_by)| {
            let at = moved_by.at.after(minutes.duration());
            (StopsAt { at, reason: StopReason::Autostop, moved_by }, minutes)
        })
    }

    /// The end of its time to live, whether it runs or not: the earlier one of its own and that of its owner's group.
    fn time_to_live(&self, group: &GroupLimits) -> Option<StopsAt> {
        let created = MovedBy { fact: Fact::Created, at: self.created_at };
        let ends = |at, moved_by| StopsAt { at, reason: StopReason::TimeToLive, moved_by };
        let own = self.lifetime.set.expires_at.map(|at| {
            let changed = self.lifetime.expiry_changed_at.map(|at| MovedBy { fact: Fact::Changed, at });
            ends(at, changed.unwrap_or(created))
        });
        let of_group = group.time_to_live.map(|limit| {
            let moved_by = created.or_later(limit.moved_by);
            ends(moved_by.at.after(limit.minutes.duration()), moved_by)
        });
        [own, of_group].into_iter().flatten().min_by_key(|end| end.at)
    }

    /// Whether it may be resumed, as far as its time to live is concerned.
    ///
    /// # Errors
    /// [`ChangeRejected::Expired`] if that is over and it does not run.
    pub fn may_resume(&self, group: &GroupLimits, now: Timestamp) -> Result<(), ChangeRejected> {
        let is_failed = matches!(self.progress, Progress::Failed { .. });
        let would_start = match self.desired {
            DesiredState::Stopped => true,
            DesiredState::Running => is_failed,
            DesiredState::Deleted => false,
        };
        match self.time_to_live(group) {
            Some(end) if would_start && self.current_placement.is_some() && end.at <= now => {
                Err(ChangeRejected::Expired { at: end.at })
            }
            _ => Ok(()),
        }
    }
}

/// What the agent of its backend saw of an instance's SSH connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SshSeen {
    /// When it looked last.
    pub looked_at: Timestamp,
    /// Since when it has watched without a gap.
    pub watched_since: Timestamp,
    /// When it last saw a connection; `None` if it saw none since then.
    pub connected_at: Option<Timestamp>,
}

/// Stop an instance whose lifetime is over, or record that somebody uses it; nothing if there is nothing to do, or its creation is
/// under way.
#[derive(Debug, Clone, Copy)]
pub struct EndLifetime {
    /// The instance.
    pub instance_id: InstanceId,
    /// What the group of its owner allows.
    pub group: GroupLimits,
    /// `None` if nobody sees whether somebody is connected: it is not stopped for its autostop then.
    pub seen: Option<SshSeen>,
    /// The deciding replica's time.
    pub now: Timestamp,
    /// The time limits.
    pub policy: Policy,
}

/// At most so long, an activity is not recorded.
const MAX_UNRECORDED: Duration = Duration::from_secs(60 * 60);

/// Of an autostop after so long, the activities are recorded at intervals of a quarter, so that the log does not grow much.
fn unrecorded(autostop: Minutes) -> Duration {
    (autostop.duration() / 4).min(MAX_UNRECORDED)
}

impl EndLifetime {
    /// The event for the instance, if there is something to do.
    #[must_use]
    pub fn event(&self, instance: &Instance) -> Option<TenancyEvent> {
        let is_being_created =
            matches!(instance.progress, Progress::Pending { operation_kind: OperationKind::Create, .. });
        // Of what is not to run, there is no stop.
        let next = instance.stops_at(&self.group).filter(|_| !is_being_created)?;
        if let Some(end) = instance.time_to_live(&self.group).filter(|end| end.at <= self.now) {
            return Some(self.stop(instance, end));
        }
        let seen = self.seen?;
        let recorded = instance.idle_since();
        let activity = seen.connected_at.map(|at| MovedBy { fact: Fact::Activity, at });
        let idle_since = activity.map_or(recorded, |activity| recorded.or_later(activity));
        // Nobody was connected since then, as far as anybody can know.
        let quiet_since = seen.connected_at.unwrap_or(seen.watched_since);
        let is_over = |(stop, minutes): &(StopsAt, Minutes)| {
            stop.at <= seen.looked_at && quiet_since.after(minutes.duration()) <= seen.looked_at
        };
        if let Some((stop, _)) = instance.autostops(&self.group, idle_since).find(is_over) {
            return Some(self.stop(instance, stop));
        }
        let shortest = instance.autostops(&self.group, idle_since).map(|(_, minutes)| minutes).min()?;
        // What `stops_at` shows must not be over while somebody is connected.
        let to_record = idle_since.at > recorded.at
            && (next.at <= self.now || idle_since.at >= recorded.at.after(unrecorded(shortest)));
        let activity = Activity { instance_id: self.instance_id, at: idle_since.at };
        to_record.then_some(TenancyEvent::Activity(activity))
    }

    fn stop(&self, instance: &Instance, stop: StopsAt) -> TenancyEvent {
        instance.stop_for((stop.reason, Some(stop.moved_by)), self.instance_id, self.now, self.policy)
    }
}

impl Command for EndLifetime {
    type Aggregate = Tenancy;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, Infallible> {
        Ok(state.instance(self.instance_id).and_then(|instance| self.event(instance)))
    }
}

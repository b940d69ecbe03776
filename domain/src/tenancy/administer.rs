//! Stops, resumes or deletes an instance of somebody else, or changes its settings, with a reason for its owner.

use super::event::{Administered, ByAdministrator, ChangeRequested, SettingsChanged, TenancyEvent};
use super::{ChangeInstance, ChangeRejected, ChangeSettings, SettingsRejected, Tenancy};
use crate::aggregate::{Command, CommandClass};
use crate::wire::DesiredState;

/// Change the desired state of an instance as an administrator; decided like the same change by its owner.
#[derive(Debug, Clone)]
pub struct AdministerInstance {
    /// The change.
    pub change: ChangeInstance,
    /// What the owner is told.
    pub reason: Option<String>,
}

impl Command for AdministerInstance {
    type Aggregate = Tenancy;
    type Rejection = ChangeRejected;

    fn class(&self) -> CommandClass {
        self.change.class()
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, ChangeRejected> {
        let administered = |wanted: DesiredState, requested: ChangeRequested| {
            let ChangeRequested { instance_id, generation, deadline, .. } = requested;
            let reason = self.reason.clone().map(Into::into);
            TenancyEvent::Administered(Administered { instance_id, wanted, generation, deadline, reason })
        };
        Ok(self.change.decide(state)?.map(|event| match event {
            TenancyEvent::StopRequested(requested) => administered(DesiredState::Stopped, requested),
            TenancyEvent::ResumeRequested(requested) => administered(DesiredState::Running, requested),
            TenancyEvent::DeleteRequested(requested) => administered(DesiredState::Deleted, requested),
            // It had no container, so it is deleted already.
            other => other,
        }))
    }
}

/// Change the settings of an instance as an administrator; decided like the same change by its owner.
#[derive(Debug, Clone)]
pub struct AdministerSettings {
    /// The change.
    pub change: ChangeSettings,
    /// What the owner is told.
    pub reason: Option<String>,
}

impl Command for AdministerSettings {
    type Aggregate = Tenancy;
    type Rejection = SettingsRejected;

    fn class(&self) -> CommandClass {
        self.change.class()
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, SettingsRejected> {
        let reason = self.reason.clone().map(Into::into);
        Ok(self.change.decide(state)?.map(|event| match event {
            TenancyEvent::SettingsChanged(changed) => {
                let by_administrator = Some(ByAdministrator { reason });
                TenancyEvent::SettingsChanged(SettingsChanged { by_administrator, ..changed })
            }
            other => other,
        }))
    }
}

//! Adds and removes administrators.

use super::{Administrator, Administrators, AdministratorsEvent};
use crate::aggregate::{Command, CommandClass};
use crate::ids::UserId;

/// Who changes the set. An administrator must be one when the change is stored, not only when the request was checked:
/// else whoever loses the role could give it back to themselves with a request that was checked just before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedBy {
    /// The operator.
    Operator,
    /// An administrator.
    Admin(UserId),
}

/// Why the set does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdministratorsRejected {
    /// Whoever asks for it is no administrator.
    #[error("only administrators may do this")]
    NotByAdministrator,
    /// Nobody could make the next administrator.
    #[error("this is the last administrator; make another one first")]
    Last,
}

impl ChangedBy {
    fn check(self, state: &Administrators) -> Result<(), AdministratorsRejected> {
        match self {
            Self::Admin(id) if !state.user_ids.contains(&id) => Err(AdministratorsRejected::NotByAdministrator),
            Self::Admin(_) | Self::Operator => Ok(()),
        }
    }
}

/// Add a user; nothing if they are an administrator.
#[derive(Debug, Clone, Copy)]
pub struct AddAdministrator {
    /// The user.
    pub user_id: UserId,
    /// Who adds them.
    pub by: ChangedBy,
}

impl Command for AddAdministrator {
    type Aggregate = Administrators;
    type Rejection = AdministratorsRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Administrators) -> Result<Option<AdministratorsEvent>, AdministratorsRejected> {
        self.by.check(state)?;
        let added = AdministratorsEvent::Added(Administrator { user_id: self.user_id });
        Ok((!state.user_ids.contains(&self.user_id)).then_some(added))
    }
}

/// Add a user if there is no administrator.
#[derive(Debug, Clone, Copy)]
pub struct AddFirstAdministrator(pub UserId);

/// There is an administrator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is an administrator")]
pub struct HasAdministrators;

impl Command for AddFirstAdministrator {
    type Aggregate = Administrators;
    type Rejection = HasAdministrators;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Administrators) -> Result<Option<AdministratorsEvent>, HasAdministrators> {
        if !state.is_empty() {
            return Err(HasAdministrators);
        }
        Ok(Some(AdministratorsEvent::Added(Administrator { user_id: self.0 })))
    }
}

/// Remove a user; nothing if they are no administrator.
#[derive(Debug, Clone, Copy)]
pub struct RemoveAdministrator {
    /// The user.
    pub user_id: UserId,
    /// Who removes them.
    pub by: ChangedBy,
}

impl Command for RemoveAdministrator {
    type Aggregate = Administrators;
    type Rejection = AdministratorsRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Administrators) -> Result<Option<AdministratorsEvent>, AdministratorsRejected> {
        self.by.check(state)?;
        match (state.user_ids.contains(&self.user_id), state.user_ids.len()) {
            (false, _) => Ok(None),
            (true, 1) => Err(AdministratorsRejected::Last),
            (true, _) => Ok(Some(AdministratorsEvent::Removed(Administrator { user_id: self.user_id }))),
        }
    }
}

/// Require that whoever asks is an administrator; decides nothing. In a batch, decide it after what it guards: then it is
/// checked on a later state.
#[derive(Debug, Clone, Copy)]
pub struct RequireAdministrator(pub ChangedBy);

impl Command for RequireAdministrator {
    type Aggregate = Administrators;
    type Rejection = AdministratorsRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Administrators) -> Result<Option<AdministratorsEvent>, AdministratorsRejected> {
        self.0.check(state).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{given, many_cases, user};

    fn added(n: u128) -> AdministratorsEvent {
        AdministratorsEvent::Added(Administrator { user_id: user(n) })
    }

    fn removed(n: u128) -> AdministratorsEvent {
        AdministratorsEvent::Removed(Administrator { user_id: user(n) })
    }

    fn add(n: u128) -> AddAdministrator {
        AddAdministrator { user_id: user(n), by: ChangedBy::Operator }
    }

    fn remove(n: u128) -> RemoveAdministrator {
        RemoveAdministrator { user_id: user(n), by: ChangedBy::Operator }
    }

    #[test]
    fn administrators_last_one_stays_until_there_is_another() {
        given([])
            .when(remove(1))
            .then_nothing()
            .when(add(1))
            .then(added(1))
            .when(add(1))
            .then_nothing()
            .when(remove(1))
            .then_rejected(AdministratorsRejected::Last)
            .when(remove(2))
            .then_nothing()
            .when(add(2))
            .then(added(2))
            .when(remove(1))
            .then(removed(1))
            .when(remove(2))
            .then_rejected(AdministratorsRejected::Last);
    }

    #[test]
    fn administrators_first_one_is_added_only_if_there_is_none() {
        given([])
            .when(AddFirstAdministrator(user(1)))
            .then(added(1))
            .when(AddFirstAdministrator(user(1)))
            .then_rejected(HasAdministrators)
            .when(AddFirstAdministrator(user(2)))
            .then_rejected(HasAdministrators);
    }

    #[test]
    fn administrators_are_changed_by_those_who_still_are_one() {
        let by = |n| ChangedBy::Admin(user(n));
        given([added(1), added(2)])
            .when(AddAdministrator { user_id: user(3), by: by(3) })
            .then_rejected(AdministratorsRejected::NotByAdministrator)
            .when(RemoveAdministrator { user_id: user(2), by: by(1) })
            .then(removed(2))
            .when(AddAdministrator { user_id: user(2), by: by(2) })
            .then_rejected(AdministratorsRejected::NotByAdministrator)
            .when(RemoveAdministrator { user_id: user(1), by: by(2) })
            .then_rejected(AdministratorsRejected::NotByAdministrator)
            .when(AddAdministrator { user_id: user(2), by: by(1) })
            .then(added(2))
            .when(RemoveAdministrator { user_id: user(1), by: by(1) })
            .then(removed(1));
    }

    proptest! {
        #![proptest_config(many_cases())]

        #[test]
        fn administrators_once_there_was_one_there_always_is_one(
            commands in prop::collection::vec((any::<bool>(), 0_u128..4), 0..40),
        ) {
            let mut all = given::<Administrators>([]);
            let mut was_one = false;
            for (adds, who) in commands {
                let event =
                    if adds { add(who).decide(&all.state).unwrap() } else { remove(who).decide(&all.state).ok().flatten() };
                all = all.and(event);
                was_one |= adds;
                prop_assert_eq!(was_one, !all.state.is_empty());
            }
        }
    }
}

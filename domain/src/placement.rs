//! Which machine gets an instance, and why.
//!
//! In: the machines as the asking replica knows them, and those already tried. Out: the choice with its reason, or
//! one reason per machine why none can be chosen. Pure, so that a choice can be explained and tested; a replica's
//! knowledge may be a moment old, and the agent has the last word on its own room.

use serde::{Deserialize, Serialize};

use crate::backend::{ConnectionState, Machine};
use crate::ids::BackendId;

/// A backend as a replica knows it. Built by [`Candidate::new`] or [`Candidate::of`], so that only this file names all
/// fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The machine.
    pub backend_id: BackendId,
    /// Whether its agent is heard.
    pub connected: bool,
    /// Instances placed on it that are not known to be gone.
    pub used: u32,
    /// Containers that it takes at most.
    pub max_containers: u32,
}

impl Candidate {
    /// A connected backend without instances.
    #[must_use]
    pub const fn new(backend_id: BackendId, max_containers: u32) -> Self {
        Self { backend_id, connected: true, used: 0, max_containers }
    }

    /// A registered backend, without instances.
    #[must_use]
    pub fn of(backend_id: BackendId, machine: &Machine) -> Self {
        Self::new(backend_id, machine.details.max_containers)
            .connected(machine.connection == ConnectionState::Connected)
    }

    /// The same with this many instances.
    #[must_use]
    pub const fn used(self, used: u32) -> Self {
        Self { used, ..self }
    }

    /// The same with its agent connected or not.
    #[must_use]
    pub const fn connected(self, connected: bool) -> Self {
        Self { connected, ..self }
    }
}

/// The machine chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// The machine.
    pub backend_id: BackendId,
    /// Instances on it when it was chosen.
    pub used: u32,
    /// Containers that it takes at most.
    pub max_containers: u32,
    /// Machines that could have been chosen, itself included.
    #[serde(rename = "among")]
    pub eligible: u32,
}

/// Why one machine was not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ineligible {
    /// Its agent is not heard.
    NotConnected,
    /// It has no room.
    Full,
    /// It was tried for this instance.
    AlreadyTried,
}

/// No machine can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCandidate(pub Vec<(BackendId, Ineligible)>);

impl NoCandidate {
    /// Whether no machine is connected at all, in contrast to none having room.
    #[must_use]
    pub fn none_connected(&self) -> bool {
        self.0.iter().all(|(_, unfit)| *unfit == Ineligible::NotConnected)
    }
}

fn eligibility(candidate: &Candidate, tried: &[BackendId]) -> Result<(), Ineligible> {
    if !candidate.connected {
        Err(Ineligible::NotConnected)
    } else if tried.contains(&candidate.backend_id) {
        Err(Ineligible::AlreadyTried)
    } else if candidate.used >= candidate.max_containers {
        Err(Ineligible::Full)
    } else {
        Ok(())
    }
}

/// The least loaded machine (by share of its room) that is connected, has room and wasn't tried; ties go in tie_breaker.
///
/// `tie_breaker` is any number that differs from call to call; it picks among equals.
///
/// # Errors
/// [`NoCandidate`] with the reason for each machine.
pub fn place(candidates: &[Candidate], tried: &[BackendId], tie_breaker: u64) -> Result<Choice, NoCandidate> {
    let (fit, unfit): (Vec<_>, Vec<_>) =
        candidates.iter().map(|c| (c, eligibility(c, tried))).partition(|(_, fitness)| fitness.is_ok());
    // a/b < c/d as a·d < c·b: exact, without fractions.
    let share = |a: &Candidate, b: &Candidate| {
        (u64::from(a.used) * u64::from(b.max_containers)).cmp(&(u64::from(b.used) * u64::from(a.max_containers)))
    };
    let Some(least) = fit.iter().map(|(c, _)| *c).min_by(|a, b| share(a, b)) else {
        return Err(NoCandidate(unfit.into_iter().filter_map(|(c, f)| f.err().map(|f| (c.backend_id, f))).collect()));
    };
    let mut equals: Vec<&Candidate> = fit.iter().map(|(c, _)| *c).filter(|c| share(c, least).is_eq()).collect();
    equals.sort_by_key(|c| c.backend_id);
    let index = usize::try_from(tie_breaker % equals.len() as u64).unwrap_or(0);
    let chosen = equals[index];
    Ok(Choice {
        backend_id: chosen.backend_id,
        used: chosen.used,
        max_containers: chosen.max_containers,
        eligible: u32::try_from(fit.len()).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn backend(n: u32) -> BackendId {
        BackendId::from_uuid(Uuid::from_u128(u128::from(n)))
    }

    fn candidate(n: u32, connected: bool, used: u32, max_containers: u32) -> Candidate {
        Candidate::new(backend(n), max_containers).connected(connected).used(used)
    }

    #[test]
    fn the_emptier_machine_is_chosen_by_share_not_by_count() {
        let choice = place(&[candidate(1, true, 2, 4), candidate(2, true, 3, 100)], &[], 0).unwrap();
        assert_eq!(choice, Choice { backend_id: backend(2), used: 3, max_containers: 100, eligible: 2 });
    }

    #[test]
    fn equals_take_turns() {
        let candidates = [candidate(1, true, 0, 4), candidate(2, true, 0, 8)];
        let chosen: Vec<_> =
            (0..4).map(|tie_breaker| place(&candidates, &[], tie_breaker).unwrap().backend_id).collect();
        assert_eq!(chosen, [backend(1), backend(2), backend(1), backend(2)]);
    }

    #[test]
    fn each_machine_that_is_passed_over_has_its_reason() {
        let candidates = [candidate(1, false, 0, 4), candidate(2, true, 4, 4), candidate(3, true, 0, 4)];
        let no_place = place(&candidates, &[backend(3)], 7).unwrap_err();
        assert_eq!(
            no_place.0,
            [
                (backend(1), Ineligible::NotConnected),
                (backend(2), Ineligible::Full),
                (backend(3), Ineligible::AlreadyTried)
            ],
        );
        assert!(!no_place.none_connected());
        assert!(place(&candidates[..1], &[], 0).unwrap_err().none_connected());
        assert!(place(&[], &[], 0).unwrap_err().none_connected());
    }

    proptest! {
        #![proptest_config(crate::testing::thorough())]

        #[test]
        fn a_choice_is_fit_and_nothing_fit_is_emptier(
            machines in proptest::collection::vec((any::<bool>(), 0_u32..6, 0_u32..6), 0..6),
            tried in proptest::collection::vec(0_u32..6, 0..3),
            tie_breaker in any::<u64>(),
        ) {
            let candidates: Vec<_> =
                (0..).zip(&machines).map(|(n, (connected, used, max))| candidate(n, *connected, *used, *max)).collect();
            let tried: Vec<_> = tried.into_iter().map(backend).collect();
            let fit = |c: &&Candidate| c.connected && c.used < c.max_containers && !tried.contains(&c.backend_id);
            match place(&candidates, &tried, tie_breaker) {
                Ok(choice) => {
                    let chosen = candidates.iter().find(|c| c.backend_id == choice.backend_id).unwrap();
                    prop_assert!(fit(&chosen));
                    for other in candidates.iter().filter(fit) {
                        prop_assert!(chosen.used * other.max_containers <= other.used * chosen.max_containers);
                    }
                }
                Err(NoCandidate(reasons)) => {
                    prop_assert_eq!(candidates.iter().filter(fit).count(), 0);
                    prop_assert_eq!(reasons.len(), candidates.len());
                }
            }
        }
    }
}

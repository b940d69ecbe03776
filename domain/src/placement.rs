//! The choice of a backend for an instance.
//!
//! The candidates are as one replica knows them and may be slightly out of date; an agent without room refuses the
//! placement, and the next backend is tried.

use serde::{Deserialize, Serialize};

use crate::backend::{ConnectionState, Machine};
use crate::ids::BackendId;

/// A backend as a replica knows it. Built by [`Candidate::new`] or [`Candidate::of`], so that only this file names all
/// fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The backend.
    pub backend_id: BackendId,
    /// Whether its agent is connected.
    pub connected: bool,
    /// Instances placed on it, until their removal is confirmed.
    pub used: u32,
    /// Its capacity.
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

/// The chosen backend, and the facts behind the choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// The backend.
    pub backend_id: BackendId,
    /// Instances on it at that time.
    pub used: u32,
    /// Its capacity.
    pub max_containers: u32,
    /// Eligible backends, itself included.
    #[serde(rename = "among")]
    pub eligible: u32,
}

/// Why a backend is not eligible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ineligible {
    /// Its agent is not connected.
    NotConnected,
    /// It is at capacity.
    Full,
    /// It was tried before for this instance.
    AlreadyTried,
}

/// No backend is eligible; with the reason for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCandidate(pub Vec<(BackendId, Ineligible)>);

impl NoCandidate {
    /// Whether no backend is connected.
    #[must_use]
    pub fn none_connected(&self) -> bool {
        self.0.iter().all(|(_, reason)| *reason == Ineligible::NotConnected)
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

/// Chooses the eligible backend with the lowest share of its capacity in use. `tie_breaker`, a number that differs from
/// call to call, chooses among equals.
///
/// # Errors
/// [`NoCandidate`] with the reason for each backend.
pub fn place(candidates: &[Candidate], tried: &[BackendId], tie_breaker: u64) -> Result<Choice, NoCandidate> {
    let (eligible, ineligible): (Vec<_>, Vec<_>) =
        candidates.iter().map(|c| (c, eligibility(c, tried))).partition(|(_, eligibility)| eligibility.is_ok());
    // Compares a/b with c/d as a·d with c·b, which is exact.
    let share = |a: &Candidate, b: &Candidate| {
        (u64::from(a.used) * u64::from(b.max_containers)).cmp(&(u64::from(b.used) * u64::from(a.max_containers)))
    };
    let Some(least) = eligible.iter().map(|(c, _)| *c).min_by(|a, b| share(a, b)) else {
        return Err(NoCandidate(
            ineligible.into_iter().filter_map(|(c, f)| f.err().map(|f| (c.backend_id, f))).collect(),
        ));
    };
    let mut equals: Vec<&Candidate> = eligible.iter().map(|(c, _)| *c).filter(|c| share(c, least).is_eq()).collect();
    equals.sort_by_key(|c| c.backend_id);
    let index = usize::try_from(tie_breaker % equals.len() as u64).unwrap_or(0);
    let chosen = equals[index];
    Ok(Choice {
        backend_id: chosen.backend_id,
        used: chosen.used,
        max_containers: chosen.max_containers,
        eligible: u32::try_from(eligible.len()).unwrap_or(u32::MAX),
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
    fn place_chooses_the_lowest_share_not_the_lowest_count() {
        let choice = place(&[candidate(1, true, 2, 4), candidate(2, true, 3, 100)], &[], 0).unwrap();
        assert_eq!(choice, Choice { backend_id: backend(2), used: 3, max_containers: 100, eligible: 2 });
    }

    #[test]
    fn place_among_equals_follows_the_tie_breaker() {
        let candidates = [candidate(1, true, 0, 4), candidate(2, true, 0, 8)];
        let chosen: Vec<_> =
            (0..4).map(|tie_breaker| place(&candidates, &[], tie_breaker).unwrap().backend_id).collect();
        assert_eq!(chosen, [backend(1), backend(2), backend(1), backend(2)]);
    }

    #[test]
    fn place_without_a_candidate_gives_each_reason() {
        let candidates = [candidate(1, false, 0, 4), candidate(2, true, 4, 4), candidate(3, true, 0, 4)];
        let no_candidate = place(&candidates, &[backend(3)], 7).unwrap_err();
        assert_eq!(
            no_candidate.0,
            [
                (backend(1), Ineligible::NotConnected),
                (backend(2), Ineligible::Full),
                (backend(3), Ineligible::AlreadyTried)
            ],
        );
        assert!(!no_candidate.none_connected());
        assert!(place(&candidates[..1], &[], 0).unwrap_err().none_connected());
        assert!(place(&[], &[], 0).unwrap_err().none_connected());
    }

    proptest! {
        #![proptest_config(crate::testing::many_cases())]

        #[test]
        fn place_chooses_an_eligible_backend_with_the_lowest_share(
            backends in proptest::collection::vec((any::<bool>(), 0_u32..6, 0_u32..6), 0..6),
            tried in proptest::collection::vec(0_u32..6, 0..3),
            tie_breaker in any::<u64>(),
        ) {
            let candidates: Vec<_> =
                (0..).zip(&backends).map(|(n, (connected, used, max))| candidate(n, *connected, *used, *max)).collect();
            let tried: Vec<_> = tried.into_iter().map(backend).collect();
            let eligible = |c: &&Candidate| c.connected && c.used < c.max_containers && !tried.contains(&c.backend_id);
            match place(&candidates, &tried, tie_breaker) {
                Ok(choice) => {
                    let chosen = candidates.iter().find(|c| c.backend_id == choice.backend_id).unwrap();
                    prop_assert!(eligible(&chosen));
                    for other in candidates.iter().filter(eligible) {
                        prop_assert!(chosen.used * other.max_containers <= other.used * chosen.max_containers);
                    }
                }
                Err(NoCandidate(reasons)) => {
                    prop_assert_eq!(candidates.iter().filter(eligible).count(), 0);
                    prop_assert_eq!(reasons.len(), candidates.len());
                }
            }
        }
    }
}

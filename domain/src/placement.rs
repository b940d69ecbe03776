//! The choice of a backend for an instance.
//!
//! The candidates are as one replica knows them and may be slightly out of date; an agent without room refuses the
//! placement, and the next backend is tried.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::backend::Machine;
use crate::ids::BackendId;
use crate::labels::Labels;
use crate::room::{Resources, Room};

mod ineligible;
mod refusals;

pub use ineligible::Ineligible;
pub use refusals::RecentRefusals;

/// What an instance needs of its backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// The labels that the backend must have, all of them.
    pub requires: Labels,
    /// What it may use.
    pub resources: Resources,
}

/// A backend as a replica knows it. Built by [`Candidate::new`] or [`Candidate::of`], so that only this file names all
/// fields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The backend.
    pub backend_id: BackendId,
    /// Why it can't take an instance now, its room aside.
    pub unavailable: Option<Ineligible>,
    /// Instances placed on it, until their removal is confirmed.
    pub used: u32,
    /// Its capacity.
    pub max_containers: u32,
    /// Its [`RecentRefusals::rank`].
    pub refusals: u32,
    /// Its labels.
    pub labels: Labels,
    /// What its instances may use in all.
    pub room: Room,
    /// What the instances that are placed on it may use.
    pub in_use: Resources,
}

impl Candidate {
    /// A connected backend without instances.
    #[must_use]
    pub fn new(backend_id: BackendId, max_containers: u32) -> Self {
        Self {
            backend_id,
            unavailable: None,
            used: 0,
            max_containers,
            refusals: 0,
            labels: Labels::default(),
            room: Room::default(),
            in_use: Resources::default(),
        }
    }

    /// A registered backend, without instances.
    #[must_use]
    pub fn of(backend_id: BackendId, machine: &Machine) -> Self {
        let candidate = Self::new(backend_id, machine.max_containers()).labels(machine.labels.clone());
        candidate.unavailable(Ineligible::by_log(machine))
    }

    /// The same with this many instances.
    #[must_use]
    pub fn used(self, used: u32) -> Self {
        Self { used, ..self }
    }

    /// The same with its agent connected or not.
    #[must_use]
    pub fn connected(self, connected: bool) -> Self {
        Self { unavailable: if connected { None } else { Some(Ineligible::NotConnected) }, ..self }
    }

    /// The same, unavailable for this reason unless it is unavailable already.
    #[must_use]
    pub fn unavailable(self, reason: Option<Ineligible>) -> Self {
        Self { unavailable: self.unavailable.or(reason), ..self }
    }

    /// The same with at most this capacity.
    #[must_use]
    pub fn at_most(self, max_containers: u32) -> Self {
        Self { max_containers: self.max_containers.min(max_containers), ..self }
    }

    /// The same with this rank of recent refusals.
    #[must_use]
    pub fn refusals(self, refusals: u32) -> Self {
        Self { refusals, ..self }
    }

    /// The same with these labels.
    #[must_use]
    pub fn labels(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// The same with this room, of which this much is in use.
    #[must_use]
    pub fn room(self, room: Room, in_use: Resources) -> Self {
        Self { room, in_use, ..self }
    }

    /// The highest of its shares in use: of its containers, its memory, its processor time.
    fn share(&self) -> Share {
        let containers = Share { used: self.used.into(), of: self.max_containers.into() };
        let of = |used, of: Option<u64>| of.map(|of| Share { used, of });
        let memory = of(self.in_use.memory_mib, self.room.memory_mib);
        let cpu = of(self.in_use.cpu_millis, self.room.cpu_millis);
        [memory, cpu]
            .into_iter()
            .flatten()
            .fold(containers, |highest, share| if share.compare(highest).is_gt() { share } else { highest })
    }

    /// Whether it can take an instance that needs this and has been tried on these backends.
    ///
    /// # Errors
    /// Why it can't.
    pub fn eligibility(&self, demand: &Demand, tried: &[BackendId]) -> Result<(), Ineligible> {
        if let Some(reason) = &self.unavailable {
            Err(reason.clone())
        } else if tried.contains(&self.backend_id) {
            Err(Ineligible::AlreadyTried)
        } else if let Some(label) = demand.requires.first_missing_in(&self.labels) {
            Err(Ineligible::LabelMissing(label))
        } else if self.used >= self.max_containers {
            Err(Ineligible::Full)
        } else {
            self.room.check(self.in_use, demand.resources).map_err(Ineligible::Short)
        }
    }
}

/// A part of something.
#[derive(Debug, Clone, Copy)]
struct Share {
    used: u64,
    of: u64,
}

impl Share {
    /// Compares a/b with c/d as a·d with c·b, which is exact.
    fn compare(self, other: Self) -> Ordering {
        (u128::from(self.used) * u128::from(other.of)).cmp(&(u128::from(other.used) * u128::from(self.of)))
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

/// No backend is eligible; with the reason for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCandidate(pub Vec<(BackendId, Ineligible)>);

impl NoCandidate {
    /// Whether no approved backend is connected.
    #[must_use]
    pub fn none_connected(&self) -> bool {
        let away = |reason: &Ineligible| {
            use Ineligible::{KeyRevoked, NotConnected, Pending, Silent};
            matches!(reason, Pending | KeyRevoked | NotConnected | Silent)
        };
        self.0.iter().all(|(_, reason)| away(reason))
    }
}

/// Chooses the eligible backend with the fewest recent refusals, and among these the one with the lowest share in use: of its
/// containers, its memory or its processor time, whichever is highest. `tie_breaker`, a number that differs from
/// call to call, chooses among equals.
///
/// # Errors
/// [`NoCandidate`] with the reason for each backend.
pub fn place(
    candidates: &[Candidate],
    demand: &Demand,
    tried: &[BackendId],
    tie_breaker: u64,
) -> Result<Choice, NoCandidate> {
    let (eligible, ineligible): (Vec<_>, Vec<_>) =
        candidates.iter().map(|c| (c, c.eligibility(demand, tried))).partition(|(_, eligibility)| eligibility.is_ok());
    let order = |a: &Candidate, b: &Candidate| a.refusals.cmp(&b.refusals).then_with(|| a.share().compare(b.share()));
    let Some(least) = eligible.iter().map(|(c, _)| *c).min_by(|a, b| order(a, b)) else {
        return Err(NoCandidate(
            ineligible.into_iter().filter_map(|(c, f)| f.err().map(|f| (c.backend_id, f))).collect(),
        ));
    };
    let mut equals: Vec<&Candidate> = eligible.iter().map(|(c, _)| *c).filter(|c| order(c, least).is_eq()).collect();
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::backend::{Admission, ConnectionState, Enrolled};
    use crate::labels::Label;
    use crate::personal::Personal;
    use crate::reported::ShortText;
    use crate::timestamp::Timestamp;
    use crate::wire::{EngineState, ImageState, MachineStatus};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn backend(n: u32) -> BackendId {
        BackendId::from_uuid(Uuid::from_u128(u128::from(n)))
    }

    /// For an instance that takes any backend.
    fn place(candidates: &[Candidate], tried: &[BackendId], tie_breaker: u64) -> Result<Choice, NoCandidate> {
        super::place(candidates, &Demand::default(), tried, tie_breaker)
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
    fn place_tries_those_that_refused_lately_last() {
        let candidates =
            [candidate(1, true, 0, 9).refusals(2), candidate(2, true, 0, 9).refusals(1), candidate(3, true, 8, 9)];
        let chosen = |tried: &[BackendId]| place(&candidates, tried, 0).unwrap().backend_id;
        assert_eq!(chosen(&[]), backend(3));
        assert_eq!(chosen(&[backend(3)]), backend(2));
        assert_eq!(chosen(&[backend(3), backend(2)]), backend(1));
    }

    #[test]
    fn ineligible_of_a_machine_names_what_must_be_repaired_first() {
        let (down, missing) =
            (EngineState::Down { reason: ShortText::default() }, ImageState::Missing { reason: ShortText::default() });
        let fetching = ImageState::Fetching { percent: None, bytes: 0 };
        let of = |engine, image| Ineligible::of(&MachineStatus { engine, image, isolation: None });
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some(EngineState::Ready), Some(ImageState::Ready)), None);
        assert_eq!(of(Some(down), Some(missing.clone())), Some(Ineligible::EngineDown));
        assert_eq!(of(None, Some(missing)), Some(Ineligible::ImageMissing));
        assert_eq!(of(None, Some(fetching)), Some(Ineligible::ImageFetching));
    }

    #[test]
    fn candidate_of_a_machine_says_first_what_an_administrator_decided() {
        let details = Enrolled {
            username: Personal::Erased,
            password_verifier: Personal::Erased,
            lab_name: None,
            operating_system: None,
            max_containers: 4,
            key_version: 1,
            awaits_approval: false,
            token: None,
        };
        let machine = Machine {
            details,
            enrolled_at: Timestamp::from_millis(0),
            connection: ConnectionState::Connected,
            agent_info: None,
            admission: Admission::Approved,
            is_cordoned: false,
            capacity: None,
            issued_key: None,
            is_key_revoked: false,
            previous_key: None,
            drain: None,
            labels: Labels::default(),
            lost_at: None,
        };
        let of = |machine: &Machine| Candidate::of(backend(1), machine);
        assert_eq!(of(&machine), Candidate::new(backend(1), 4));
        let lost = Machine { connection: ConnectionState::Lost, ..machine.clone() };
        assert_eq!(of(&lost).unavailable, Some(Ineligible::NotConnected));
        let cordoned = Machine { is_cordoned: true, ..lost };
        assert_eq!(of(&cordoned).unavailable, Some(Ineligible::Cordoned));
        let revoked = Machine { is_key_revoked: true, ..cordoned };
        assert_eq!(of(&revoked).unavailable, Some(Ineligible::KeyRevoked));
        let pending = Machine { admission: Admission::Pending, ..revoked };
        assert_eq!(of(&pending).unavailable, Some(Ineligible::Pending));
        let labels = labels(&["gpu=yes"]);
        let candidate = of(&Machine { capacity: Some(9), labels: labels.clone(), ..machine });
        assert_eq!((candidate.max_containers, candidate.labels), (9, labels));
    }

    fn labels(texts: &[&str]) -> Labels {
        let labels = texts.iter().map(|text| text.parse::<Label>().unwrap()).map(|label| (label.key, label.value));
        labels.collect::<BTreeMap<_, _>>().try_into().unwrap()
    }

    #[test]
    fn place_takes_only_backends_with_all_labels_that_the_instance_requires() {
        let of = |n, with: &[&str]| candidate(n, true, n, 9).labels(labels(with));
        let candidates = [of(1, &[]), of(2, &["gpu=yes"]), of(3, &["gpu=yes", "room=b12"]), of(4, &["gpu=no"])];
        let chosen = |requires: &[&str]| {
            super::place(&candidates, &Demand { requires: labels(requires), ..Demand::default() }, &[], 0)
        };
        assert_eq!(chosen(&[]).unwrap().backend_id, backend(1));
        assert_eq!(chosen(&["gpu=yes"]).unwrap().backend_id, backend(2));
        assert_eq!(chosen(&["room=b12", "gpu=yes"]).unwrap().backend_id, backend(3));
        let missing = |reasons: NoCandidate| reasons.0.iter().map(|(_, reason)| reason.explain()).collect::<Vec<_>>();
        let none = chosen(&["gpu=no", "room=b12"]).unwrap_err();
        assert!(!none.none_connected());
        assert_eq!(missing(none), {
            let missing = |label| format!("label {label} missing");
            ["gpu=no", "gpu=no", "gpu=no", "room=b12"].map(missing)
        });
    }

    #[test]
    fn place_weighs_memory_and_processor_time_and_says_what_is_short() {
        let of = |n, used, memory: (u64, u64), cpu: (u64, u64)| {
            let room = Room { memory_mib: Some(memory.1), cpu_millis: Some(cpu.1) };
            candidate(n, true, used, 10).room(room, Resources { memory_mib: memory.0, cpu_millis: cpu.0 })
        };
        let candidates =
            [of(1, 1, (800, 1000), (0, 4000)), of(2, 5, (100, 1000), (400, 4000)), of(3, 0, (0, 1000), (2400, 4000))];
        let chosen = |memory_mib, cpu_millis| {
            let resources = Resources { memory_mib, cpu_millis };
            super::place(&candidates, &Demand { resources, ..Demand::default() }, &[], 0)
        };
        // The highest shares are 80 % of the memory, 50 % of the containers, and 60 % of the processor time.
        assert_eq!(chosen(100, 100).unwrap().backend_id, backend(2));
        assert_eq!(chosen(900, 3600).unwrap().backend_id, backend(2));
        assert_eq!(chosen(1000, 1000).unwrap().backend_id, backend(3));
        assert_eq!(chosen(200, 4000).unwrap().backend_id, backend(1));
        let short = chosen(1001, 2000).unwrap_err().0;
        let short: Vec<_> = short.iter().map(|(_, reason)| (reason.code(), reason.explain())).collect();
        assert_eq!(
            short,
            [
                ("memory", "memory: 200 MiB free, 1001 asked".to_owned()),
                ("memory", "memory: 900 MiB free, 1001 asked".to_owned()),
                ("memory", "memory: 1000 MiB free, 1001 asked".to_owned()),
            ]
        );
        let short = chosen(1, 4001).unwrap_err().0;
        assert!(short.iter().all(|(_, reason)| reason.code() == "cpu"), "{short:?}");
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
        let with = |reason| place(&[candidate(1, true, 0, 4).unavailable(Some(reason))], &[], 0).unwrap_err();
        assert!(with(Ineligible::Pending).none_connected());
        assert!(!with(Ineligible::Cordoned).none_connected());
    }

    proptest! {
        #![proptest_config(crate::testing::many_cases())]

        #[test]
        fn place_chooses_an_eligible_backend_with_the_lowest_share(
            backends in proptest::collection::vec((any::<bool>(), 0_u32..6, 0_u32..6, 0_u32..3), 0..6),
            tried in proptest::collection::vec(0_u32..6, 0..3),
            tie_breaker in any::<u64>(),
        ) {
            let candidates: Vec<_> = (0..)
                .zip(&backends)
                .map(|(n, (connected, used, max, refusals))| candidate(n, *connected, *used, *max).refusals(*refusals))
                .collect();
            let tried: Vec<_> = tried.into_iter().map(backend).collect();
            let eligible = |c: &&Candidate| c.unavailable.is_none() && c.used < c.max_containers && !tried.contains(&c.backend_id);
            match place(&candidates, &tried, tie_breaker) {
                Ok(choice) => {
                    let chosen = candidates.iter().find(|c| c.backend_id == choice.backend_id).unwrap();
                    prop_assert!(eligible(&chosen));
                    for other in candidates.iter().filter(eligible) {
                        prop_assert!(chosen.refusals <= other.refusals);
                        prop_assert!(chosen.refusals < other.refusals || chosen.used * other.max_containers <= other.used * chosen.max_containers);
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

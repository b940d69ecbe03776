//! I5: a name has one owner.
//!
//! Checks the claims by their subjects, and the accounts by their names, because a claim protects a name only if each account
//! claims its names.

use std::collections::BTreeMap;

use dockhost_domain::claim::ClaimEvent;
use dockhost_domain::event::Event;
use dockhost_domain::ids::PrincipalId;
use dockhost_domain::subject::AggregateId;

use super::log::Log;
use super::{Invariant, Violations};

pub(super) fn check(log: &Log, violations: &mut Violations) {
    let mut owners_by_claim: BTreeMap<AggregateId, (PrincipalId, u64)> = BTreeMap::new();
    let mut names: BTreeMap<(&str, String), (AggregateId, u64)> = BTreeMap::new();
    for logged in &log.events {
        let (aggregate, sequence) = (logged.recorded.envelope.aggregate, logged.sequence());
        match &logged.recorded.envelope.event {
            Event::Claim(ClaimEvent::Taken(by)) => match owners_by_claim.insert(aggregate, (by.owner, sequence)) {
                Some((before, since)) if before != by.owner => {
                    let owners = [before.to_string(), by.owner.to_string(), aggregate.to_string()];
                    violations.add(
                        Invariant::I5,
                        "an owned name was taken by another owner",
                        owners,
                        [since, sequence],
                    );
                }
                _ => {}
            },
            Event::Claim(ClaimEvent::Released(_)) => drop(owners_by_claim.remove(&aggregate)),
            Event::Account(_) if logged.kind == "dockhost.account.created.v1" => {
                for kind in ["username", "email"] {
                    let Some(name) = logged.data[kind]["$personal"].as_str() else { continue };
                    let slot = (kind, name.trim().to_lowercase());
                    if let Some((other, since)) = names.insert(slot, (aggregate, sequence)) {
                        let what = format!("two accounts have the {kind} {name}");
                        violations.add(Invariant::I5, what, [other, aggregate], [since, sequence]);
                    }
                }
            }
            // An erased account has no names.
            Event::Account(_) if logged.kind.starts_with("dockhost.account.erased.") => {
                names.retain(|_, (owner, _)| *owner != aggregate);
            }
            _ => {}
        }
    }
}

//! I5: one holder per name. In: the events of claims and accounts. Out: names that two hold at once, by the claims'
//! subjects and by the names themselves: the claims guard what they guard only if each account's names are claimed.

use std::collections::BTreeMap;

use dockhost_domain::claim::ClaimEvent;
use dockhost_domain::event::Event;
use dockhost_domain::ids::PrincipalId;
use dockhost_domain::subject::AggregateId;

use super::log::Log;
use super::{Found, Invariant};

pub(super) fn check(log: &Log, found: &mut Found) {
    let mut holders: BTreeMap<AggregateId, (PrincipalId, u64)> = BTreeMap::new();
    let mut names: BTreeMap<(&str, String), (AggregateId, u64)> = BTreeMap::new();
    for logged in &log.events {
        let (aggregate, sequence) = (logged.recorded.envelope.aggregate, logged.sequence());
        match &logged.recorded.envelope.event {
            Event::Claim(ClaimEvent::Taken(by)) => match holders.insert(aggregate, (by.owner, sequence)) {
                Some((before, since)) if before != by.owner => {
                    let owners = [before.to_string(), by.owner.to_string(), aggregate.to_string()];
                    found.add(Invariant::I5, "a name that is held was taken by another", owners, [since, sequence]);
                }
                _ => {}
            },
            Event::Claim(ClaimEvent::Released(_)) => drop(holders.remove(&aggregate)),
            Event::Account(_) if logged.kind == "dockhost.account.created.v1" => {
                for kind in ["username", "email"] {
                    let Some(name) = logged.data[kind]["$personal"].as_str() else { continue };
                    let slot = (kind, name.trim().to_lowercase());
                    if let Some((other, since)) = names.insert(slot, (aggregate, sequence)) {
                        let what = format!("two live accounts have the {kind} {name}");
                        found.add(Invariant::I5, what, [other, aggregate], [since, sequence]);
                    }
                }
            }
            // Whoever was erased has no name any more.
            Event::Account(_) if logged.kind.starts_with("dockhost.account.erased.") => {
                names.retain(|_, (holder, _)| *holder != aggregate);
            }
            _ => {}
        }
    }
}

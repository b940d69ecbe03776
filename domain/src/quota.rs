//! What the instances of one user may be and use in all. All that are not deleted count, also stopped ones: they can be
//! resumed at any time, and keep their room on their backend.

use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;
use crate::room::Resources;

/// Limits of the instances of one user that are not deleted; `None` where nothing is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Their number.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instances: Option<u32>,
    /// Their processor time in thousandths of a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Their memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
}

/// The instances of one user that are not deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaUse {
    /// Their number.
    pub instances: u32,
    /// What they may use in all.
    pub resources: Resources,
}

/// The limit that one more instance would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaExceeded {
    /// That of their number.
    #[error("{}", too_many(*.limit, *.used))]
    Instances {
        /// The limit.
        limit: u32,
        /// How many there are.
        used: u32,
    },
    /// That of their processor time, in thousandths of a processor.
    #[error(
        "you asked for {}, and your instances, also stopped ones, have {} of the {} that you may use; {}",
        processors(*.asked), Decimal::of_thousandths(*.used), processors((*.limit).into()),
        remedy(free(*.limit, *.used), processors)
    )]
    Cpu {
        /// The limit.
        limit: u32,
        /// What the instances have.
        used: u64,
        /// What the new one asks for.
        asked: u64,
    },
    /// That of their memory, in MiB.
    #[error(
        "you asked for {asked} MiB of memory, and your instances, also stopped ones, have {used} of the {limit} MiB that you \
         may use; {}",
        remedy(free(*.limit, *.used), |mib| format!("{mib} MiB"))
    )]
    Memory {
        /// The limit.
        limit: u32,
        /// What the instances have.
        used: u64,
        /// What the new one asks for.
        asked: u64,
    },
}

fn too_many(limit: u32, used: u32) -> String {
    if limit == 0 {
        return format!("you have {used} instances and may have none; ask an administrator");
    }
    let instances = if limit == 1 { "instance" } else { "instances" };
    let surplus = used.saturating_sub(limit).saturating_add(1);
    format!("you have {used} of {limit} {instances}; delete {surplus} first")
}

fn processors(millis: u64) -> String {
    let unit = if millis == 1000 { "processor" } else { "processors" };
    format!("{} {unit}", Decimal::of_thousandths(millis))
}

fn free(limit: u32, used: u64) -> u64 {
    u64::from(limit).saturating_sub(used)
}

fn remedy(free: u64, show: impl FnOnce(u64) -> String) -> String {
    if free == 0 {
        "delete instances first".to_owned()
    } else {
        format!("ask for at most {}, or delete instances first", show(free))
    }
}

impl Quota {
    /// These limits, and those of another quota where nothing is set.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            instances: self.instances.or(other.instances),
            cpu_millis: self.cpu_millis.or(other.cpu_millis),
            memory_mib: self.memory_mib.or(other.memory_mib),
        }
    }

    /// Whether there may be one more instance with these resources.
    ///
    /// # Errors
    /// The first limit that it would exceed.
    pub fn check(self, used: QuotaUse, asked: Resources) -> Result<(), QuotaExceeded> {
        if let Some(limit) = self.instances
            && used.instances >= limit
        {
            return Err(QuotaExceeded::Instances { limit, used: used.instances });
        }
        let exceeds = |limit: u32, used: u64, asked: u64| used.saturating_add(asked) > u64::from(limit);
        if let Some(limit) = self.cpu_millis {
            let (used, asked) = (used.resources.cpu_millis, asked.cpu_millis);
            if exceeds(limit, used, asked) {
                return Err(QuotaExceeded::Cpu { limit, used, asked });
            }
        }
        if let Some(limit) = self.memory_mib {
            let (used, asked) = (used.resources.memory_mib, asked.memory_mib);
            if exceeds(limit, used, asked) {
                return Err(QuotaExceeded::Memory { limit, used, asked });
            }
        }
        Ok(())
    }
}

impl QuotaUse {
    /// With one more instance.
    #[must_use]
    pub fn and(self, instance: Resources) -> Self {
        Self { instances: self.instances.saturating_add(1), resources: self.resources.plus(instance) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn quota(instances: Option<u32>, cpu_millis: Option<u32>, memory_mib: Option<u32>) -> Quota {
        Quota { instances, cpu_millis, memory_mib }
    }

    const fn used(instances: u32, cpu_millis: u64, memory_mib: u64) -> QuotaUse {
        QuotaUse { instances, resources: Resources { memory_mib, cpu_millis } }
    }

    const ASKED: Resources = Resources { memory_mib: 512, cpu_millis: 1000 };

    #[test]
    fn quota_exceeded_says_what_was_asked_what_is_used_and_what_to_do() {
        let all = quota(Some(3), Some(4000), Some(2048));
        let refused = |used| all.check(used, ASKED).map_err(|exceeded| exceeded.to_string());
        assert_eq!(refused(used(2, 3000, 1536)), Ok(()));
        for (used, message) in [
            (used(3, 0, 0), "you have 3 of 3 instances; delete 1 first"),
            (used(5, 9000, 0), "you have 5 of 3 instances; delete 3 first"),
            (
                used(2, 3500, 0),
                "you asked for 1 processor, and your instances, also stopped ones, have 3.5 of the 4 processors that you \
                 may use; ask for at most 0.5 processors, or delete instances first",
            ),
            (
                used(2, 4000, 9999),
                "you asked for 1 processor, and your instances, also stopped ones, have 4 of the 4 processors that you may \
                 use; delete instances first",
            ),
            (
                used(2, 3000, 1537),
                "you asked for 512 MiB of memory, and your instances, also stopped ones, have 1537 of the 2048 MiB that \
                 you may use; ask for at most 511 MiB, or delete instances first",
            ),
        ] {
            assert_eq!(refused(used), Err(message.to_owned()), "{used:?}");
        }
        let one = quota(Some(1), None, None).check(used(3, 0, 0), ASKED).unwrap_err();
        assert_eq!(one.to_string(), "you have 3 of 1 instance; delete 3 first");
        let none = quota(Some(0), None, None).check(used(2, 0, 0), ASKED).unwrap_err();
        assert_eq!(none.to_string(), "you have 2 instances and may have none; ask an administrator");
    }

    proptest! {
        /// What a quota admits one after the other never exceeds it, and a limit that is not set refuses nothing.
        #[test]
        fn quota_admits_exactly_what_fits(
            limits in (prop::option::of(0_u32..6), prop::option::of(0_u32..5000), prop::option::of(0_u32..5000)),
            asked in prop::collection::vec((1_u64..2000, 1_u64..2000), 0..12),
        ) {
            let quota = quota(limits.0, limits.1, limits.2);
            let mut used = QuotaUse::default();
            for (cpu_millis, memory_mib) in asked {
                let asked = Resources { memory_mib, cpu_millis };
                let next = used.and(asked);
                let fits = quota.instances.is_none_or(|limit| next.instances <= limit)
                    && quota.cpu_millis.is_none_or(|limit| next.resources.cpu_millis <= limit.into())
                    && quota.memory_mib.is_none_or(|limit| next.resources.memory_mib <= limit.into());
                prop_assert_eq!(quota.check(used, asked).is_ok(), fits, "{:?} and {:?} of {:?}", used, asked, quota);
                if fits {
                    used = next;
                }
            }
        }
    }
}

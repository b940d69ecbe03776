//! The processor time and memory of machines, and how much of it instances may be promised.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::decimal::{self, Decimal};
use crate::wire::{Limits, MachineSize};

/// Processor time and memory that instances use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Processor time in thousandths of a processor.
    pub cpu_millis: u64,
}

impl Resources {
    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
        }
    }

    /// The difference; what would be negative is 0.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
        }
    }
}

impl From<Limits> for Resources {
    fn from(limits: Limits) -> Self {
        Self { memory_mib: limits.memory_mib.into(), cpu_millis: limits.cpu_millis.into() }
    }
}

/// What instances on a machine may be promised in all; no limit where it is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Processor time in thousandths of a processor.
    pub cpu_millis: Option<u64>,
}

/// What an instance asks for and a machine does not have free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// Memory.
    #[error("memory: {free} MiB free, {asked} asked")]
    Memory {
        /// MiB that are free.
        free: u64,
        /// MiB that are asked for.
        asked: u64,
    },
    /// Processor time.
    #[error("processor: {} free, {} asked", Decimal::of_thousandths(*.free), Decimal::of_thousandths(*.asked))]
    Cpu {
        /// Thousandths of a processor that are free.
        free: u64,
        /// Thousandths of a processor that are asked for.
        asked: u64,
    },
}

impl Room {
    /// Whether there is room for more beside what is used.
    ///
    /// # Errors
    /// What is short, memory first.
    pub const fn check(self, used: Resources, asked: Resources) -> Result<(), Shortage> {
        if let Some(max) = self.memory_mib {
            let (free, asked) = (max.saturating_sub(used.memory_mib), asked.memory_mib);
            if asked > free {
                return Err(Shortage::Memory { free, asked });
            }
        }
        if let Some(max) = self.cpu_millis {
            let (free, asked) = (max.saturating_sub(used.cpu_millis), asked.cpu_millis);
            if asked > free {
                return Err(Shortage::Cpu { free, asked });
            }
        }
        Ok(())
    }
}

/// How many times what a machine has instances may be promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overcommit {
    /// Of the processor time.
    #[serde(default, skip_serializing_if = "Factor::is_off")]
    pub cpu_percent: Factor,
    /// Of the memory.
    #[serde(default, skip_serializing_if = "Factor::is_off")]
    pub memory_percent: Factor,
}

impl Default for Overcommit {
    fn default() -> Self {
        Self { cpu_percent: Factor(Some(400)), memory_percent: Factor(Some(100)) }
    }
}

impl Overcommit {
    /// The room of a machine; none is limited if the machine does not say what it has.
    #[must_use]
    pub fn room(self, machine: Option<MachineSize>) -> Room {
        Room {
            memory_mib: machine.and_then(|machine| self.memory_percent.of(machine.memory_mib)),
            cpu_millis: machine.and_then(|machine| self.cpu_percent.of(machine.cpu_millis)),
        }
    }
}

/// A factor of overcommit in hundredths: 0.01 to 1000, as text such as `1.5`; or `off`, which limits nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Factor(Option<u32>);

/// A text is no factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from 0.01 to 1000 with at most two decimals, or `off`")]
pub struct InvalidFactor;

impl Factor {
    /// Whether it limits nothing.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.0.is_none()
    }

    fn of(self, amount: u32) -> Option<u64> {
        self.0.map(|percent| u64::from(amount) * u64::from(percent) / 100)
    }
}

impl FromStr for Factor {
    type Err = InvalidFactor;

    fn from_str(text: &str) -> Result<Self, InvalidFactor> {
        if text == "off" {
            return Ok(Self(None));
        }
        let percent = decimal::parse(text, 2).ok_or(InvalidFactor)?;
        if (1..=100_000).contains(&percent) { Ok(Self(Some(percent))) } else { Err(InvalidFactor) }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(percent) => Decimal { value: percent.into(), decimals: 2 }.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn resources(memory_mib: u64, cpu_millis: u64) -> Resources {
        Resources { memory_mib, cpu_millis }
    }

    #[test]
    fn factor_text_is_a_decimal_number_or_off() {
        for (text, shown) in
            [("1", "1"), ("1.5", "1.5"), ("0.01", "0.01"), ("1000", "1000"), ("2.50", "2.5"), ("off", "off")]
        {
            assert_eq!(text.parse::<Factor>().map(|factor| factor.to_string()).as_deref(), Ok(shown));
        }
        for text in ["", "0", "0.00", "1.234", "-1", "1000.01", ".5", "1.", "1e3", " 1", "on", "99999999999"] {
            assert_eq!(text.parse::<Factor>(), Err(InvalidFactor), "{text}");
        }
    }

    #[test]
    fn room_is_what_the_machine_has_times_the_factor() {
        let machine = Some(MachineSize { memory_mib: 8000, cpu_millis: 2000 });
        let overcommit = |cpu: &str, memory: &str| Overcommit {
            cpu_percent: cpu.parse().unwrap(),
            memory_percent: memory.parse().unwrap(),
        };
        let room = |memory_mib, cpu_millis| Room { memory_mib, cpu_millis };
        assert_eq!(overcommit("4", "1").room(machine), room(Some(8000), Some(8000)));
        assert_eq!(overcommit("0.5", "1.25").room(machine), room(Some(10_000), Some(1000)));
        assert_eq!(overcommit("off", "1").room(machine), room(Some(8000), None));
        assert_eq!(overcommit("4", "1").room(None), Room::default());
    }

    #[test]
    fn room_check_says_what_is_short() {
        let room = Room { memory_mib: Some(1024), cpu_millis: Some(1500) };
        let check = |used, asked| room.check(used, asked).map_err(|shortage| shortage.to_string());
        assert_eq!(check(resources(512, 500), resources(512, 1000)), Ok(()));
        assert_eq!(check(resources(512, 0), resources(1024, 0)), Err("memory: 512 MiB free, 1024 asked".to_owned()));
        assert_eq!(check(resources(0, 750), resources(0, 1000)), Err("processor: 0.75 free, 1 asked".to_owned()));
        assert_eq!(check(resources(9999, 0), resources(1, 0)), Err("memory: 0 MiB free, 1 asked".to_owned()));
        assert_eq!(Room::default().check(resources(u64::MAX, u64::MAX), resources(u64::MAX, u64::MAX)), Ok(()));
    }
}

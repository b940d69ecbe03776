//! What an instance may use: a size with a name, or processor time, memory and processes within limits.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::decimal::{self, Decimal};
use crate::names::text;
use crate::wire::Limits;

/// The least that an instance can ask for.
pub const MIN_LIMITS: Limits = Limits { memory_mib: 32, cpu_millis: 50, pids: 16 };
/// The most that a server can be configured for.
pub const MAX_LIMITS: Limits = Limits { memory_mib: 16 * 1024 * 1024, cpu_millis: 1_024_000, pids: 1_000_000 };

/// The name of a size: 1 to 32 characters `a-z0-9-`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SizeName(String);

/// A text is not the name of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 32 characters a-z, 0-9 and '-', beginning with a letter")]
pub struct InvalidSizeName;

impl FromStr for SizeName {
    type Err = InvalidSizeName;

    fn from_str(text: &str) -> Result<Self, InvalidSizeName> {
        let is_valid = text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidSizeName) }
    }
}

text!(SizeName, InvalidSizeName);

/// The sizes with names, as text `small=0.5/512/256,large=2/2048/1024`: processors, MiB of memory, and processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes(BTreeMap<SizeName, Limits>);

/// A text does not describe sizes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSizes {
    /// An entry is not of the form.
    #[error("{0:?} is not of the form name=processors/memory/processes, such as small=0.5/512/256")]
    Form(String),
    /// A name is invalid.
    #[error("the name of a size {0}")]
    Name(InvalidSizeName),
    /// Two sizes have the same name.
    #[error("there are two sizes {0}")]
    Twice(SizeName),
    /// A number is too small or too large.
    #[error("{0}: {1}")]
    Range(SizeName, OutOfRange),
}

/// What is too small or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfRange {
    /// Memory.
    #[error("the memory must be {0} to {1} MiB")]
    Memory(u32, u32),
    /// Processor time.
    #[error("the processor time must be {} to {} processors", Decimal::of_thousandths((*.0).into()), Decimal::of_thousandths((*.1).into()))]
    Cpu(u32, u32),
    /// Processes.
    #[error("the processes must be {0} to {1}")]
    Pids(u32, u32),
}

impl OutOfRange {
    /// The member of a request that is out of range.
    #[must_use]
    pub const fn member(self) -> &'static str {
        match self {
            Self::Memory(..) => "memoryMib",
            Self::Cpu(..) => "cpu",
            Self::Pids(..) => "pids",
        }
    }
}

/// Checks that limits are between [`MIN_LIMITS`] and a maximum.
///
/// # Errors
/// The first that is not.
pub const fn check_range(limits: Limits, max: Limits) -> Result<(), OutOfRange> {
    let Limits { memory_mib, cpu_millis, pids } = limits;
    if memory_mib < MIN_LIMITS.memory_mib || memory_mib > max.memory_mib {
        Err(OutOfRange::Memory(MIN_LIMITS.memory_mib, max.memory_mib))
    } else if cpu_millis < MIN_LIMITS.cpu_millis || cpu_millis > max.cpu_millis {
        Err(OutOfRange::Cpu(MIN_LIMITS.cpu_millis, max.cpu_millis))
    } else if pids < MIN_LIMITS.pids || pids > max.pids {
        Err(OutOfRange::Pids(MIN_LIMITS.pids, max.pids))
    } else {
        Ok(())
    }
}

impl FromStr for Sizes {
    type Err = InvalidSizes;

    fn from_str(text: &str) -> Result<Self, InvalidSizes> {
        let mut sizes = BTreeMap::new();
        for entry in text.split(',').map(str::trim) {
            let form = || InvalidSizes::Form(entry.to_owned());
            let (name, amounts) = entry.split_once('=').ok_or_else(form)?;
            let name: SizeName = name.trim().parse().map_err(InvalidSizes::Name)?;
            let mut parts = amounts.split('/').map(str::trim);
            let (Some(cpu), Some(memory), Some(pids), None) = (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(form());
            };
            let limits = Limits {
                memory_mib: decimal::parse(memory, 0).ok_or_else(form)?,
                cpu_millis: decimal::parse(cpu, 3).ok_or_else(form)?,
                pids: decimal::parse(pids, 0).ok_or_else(form)?,
            };
            check_range(limits, MAX_LIMITS).map_err(|range| InvalidSizes::Range(name.clone(), range))?;
            if sizes.insert(name.clone(), limits).is_some() {
                return Err(InvalidSizes::Twice(name));
            }
        }
        Ok(Self(sizes))
    }
}

impl Sizes {
    /// The sizes, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&SizeName, Limits)> {
        self.0.iter().map(|(name, limits)| (name, *limits))
    }
}

/// What an instance may use, as its owner asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// A size, instead of the other members.
    pub size: Option<SizeName>,
    /// Processor time in thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// Why an instance can't have what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskedInvalid {
    /// There is a size and something else.
    #[error("must not be given together with cpu, memoryMib or pids")]
    Both,
    /// There is no such size.
    #[error("must be one of: {0}")]
    NoSuchSize(String),
    /// It is too little or too much.
    #[error("{0}")]
    Range(OutOfRange),
}

impl AskedInvalid {
    /// The member of the request that is wrong.
    #[must_use]
    pub const fn member(&self) -> &'static str {
        match self {
            Self::Both | Self::NoSuchSize(_) => "size",
            Self::Range(range) => range.member(),
        }
    }
}

/// What instances can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What an instance has of what it does not ask for.
    pub default: Limits,
    /// The most that one can ask for without a size.
    pub max: Limits,
    /// The sizes.
    pub sizes: Sizes,
}

impl Offer {
    /// The limits of an instance.
    ///
    /// # Errors
    /// [`AskedInvalid`].
    pub fn limits(&self, asked: &Asked) -> Result<Limits, AskedInvalid> {
        let Asked { size, cpu_millis, memory_mib, pids } = asked;
        if let Some(size) = size {
            if (cpu_millis, memory_mib, pids) != (&None, &None, &None) {
                return Err(AskedInvalid::Both);
            }
            let names = || self.sizes.0.keys().map(SizeName::to_string).collect::<Vec<_>>().join(", ");
            return self.sizes.0.get(size).copied().ok_or_else(|| AskedInvalid::NoSuchSize(names()));
        }
        let limits = Limits {
            memory_mib: memory_mib.unwrap_or(self.default.memory_mib),
            cpu_millis: cpu_millis.unwrap_or(self.default.cpu_millis),
            pids: pids.unwrap_or(self.default.pids),
        };
        // The default is the operator's choice, also one that nobody can ask for.
        if limits == self.default {
            return Ok(limits);
        }
        check_range(limits, self.max).map(|()| limits).map_err(AskedInvalid::Range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn limits(cpu_millis: u32, memory_mib: u32, pids: u32) -> Limits {
        Limits { memory_mib, cpu_millis, pids }
    }

    #[test]
    fn sizes_text_is_parsed_strictly() {
        let sizes: Sizes = "small=0.5/512/256, large=2/2048/1024".parse().unwrap();
        let found: Vec<_> = sizes.iter().map(|(name, limits)| (name.to_string(), limits)).collect();
        assert_eq!(
            found,
            [("large".to_owned(), limits(2000, 2048, 1024)), ("small".to_owned(), limits(500, 512, 256))]
        );
        for (text, error) in [
            ("", "is not of the form"),
            ("small", "is not of the form"),
            ("small=1/512", "is not of the form"),
            ("small=1/512/256/9", "is not of the form"),
            ("small=1/512.5/256", "is not of the form"),
            ("small=0.1234/512/256", "is not of the form"),
            ("small=-1/512/256", "is not of the form"),
            ("small=1/512/256,", "is not of the form"),
            ("Small=1/512/256", "beginning with a letter"),
            ("small=1/512/256,small=2/512/256", "two sizes small"),
            ("small=0.01/512/256", "small: the processor time must be 0.05 to 1024 processors"),
            ("small=1/8/256", "small: the memory must be 32 to 16777216 MiB"),
            ("small=1/512/1", "small: the processes must be 16 to 1000000"),
        ] {
            let found = text.parse::<Sizes>().unwrap_err().to_string();
            assert!(found.contains(error), "{text}: {found}");
        }
    }

    #[test]
    fn offer_limits_are_those_of_the_size_or_what_is_asked_within_the_maximum() {
        let offer = Offer {
            default: limits(1000, 1024, 512),
            max: limits(2000, 4096, 1024),
            sizes: "small=0.5/512/256,huge=8/16384/4096".parse().unwrap(),
        };
        let of = |asked: Asked| offer.limits(&asked).map_err(|error| (error.member(), error.to_string()));
        let size = |name: &str| Asked { size: Some(name.parse().unwrap()), ..Asked::default() };
        assert_eq!(of(Asked::default()), Ok(limits(1000, 1024, 512)));
        assert_eq!(of(size("small")), Ok(limits(500, 512, 256)));
        assert_eq!(of(size("huge")), Ok(limits(8000, 16384, 4096)));
        assert_eq!(of(size("tiny")), Err(("size", "must be one of: huge, small".to_owned())));
        assert_eq!(of(Asked { pids: Some(64), ..size("small") }).unwrap_err().0, "size");
        assert_eq!(of(Asked { memory_mib: Some(4096), ..Asked::default() }), Ok(limits(1000, 4096, 512)));
        let much = Asked { memory_mib: Some(4097), ..Asked::default() };
        assert_eq!(of(much), Err(("memoryMib", "the memory must be 32 to 4096 MiB".to_owned())));
        assert_eq!(of(Asked { cpu_millis: Some(1), ..Asked::default() }).unwrap_err().0, "cpu");
        assert_eq!(of(Asked { pids: Some(2000), ..Asked::default() }).unwrap_err().0, "pids");
    }
}

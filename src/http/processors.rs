//! Processor time in the API: a number of processors with at most three decimals. The rules count thousandths.

use serde::{Deserialize, Serialize};

/// The most processors of a request.
const MAX: u32 = 1_000_000;

/// A number of processors, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Processors(u32);

/// A number is no number of processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be at least 0 and at most {MAX}, with at most three decimals")]
pub struct InvalidProcessors;

impl Processors {
    /// Thousandths.
    pub const fn millis(self) -> u32 {
        self.0
    }
}

/// Thousandths as a number of processors.
pub fn of_millis(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

impl From<Processors> for f64 {
    fn from(Processors(millis): Processors) -> Self {
        Self::from(millis) / 1000.0
    }
}

impl TryFrom<f64> for Processors {
    type Error = InvalidProcessors;

    fn try_from(processors: f64) -> Result<Self, InvalidProcessors> {
        let millis = processors * 1000.0;
        let rounded = millis.round();
        // A body has a number, which may have more than three decimals. Within the range of `f64` this is exact.
        let is_valid = (0.0..=f64::from(MAX)).contains(&processors) && (millis - rounded).abs() < 1e-6;
        if is_valid { Ok(Self(rounded as u32)) } else { Err(InvalidProcessors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_of_a_number_with_three_decimals_are_exact() {
        let millis = |processors: f64| Processors::try_from(processors).map(Processors::millis);
        let found = [0.5, 0.1, 1.0, 2.75, 0.001, 63.999, 0.0, 1e6].map(millis);
        assert_eq!(found, [500, 100, 1000, 2750, 1, 63_999, 0, 1_000_000_000].map(Ok));
        for processors in [0.0005, 1.2345, -1.0, f64::NAN, f64::INFINITY, 1_000_000.001, 1e12] {
            assert_eq!(millis(processors), Err(InvalidProcessors), "{processors}");
        }
    }

    /// The hash of a repeated request contains its numbers as JSON.
    #[test]
    fn processors_are_written_as_they_were_read() {
        for text in ["0.1", "2.75", "1.0", "0.001", "63.999"] {
            let read: Processors = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }
}

//! Numbers with few decimals, as text and as whole numbers of their last decimal place.

use std::fmt;

/// A number of so many of its last decimal place; shown without zeros at the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal {
    /// How many of the last decimal place.
    pub value: u64,
    /// The decimal places.
    pub decimals: u32,
}

impl Decimal {
    /// Thousandths.
    pub(crate) const fn of_thousandths(value: u64) -> Self {
        Self { value, decimals: 3 }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, width) = (10_u64.pow(self.decimals), self.decimals as usize);
        let text = format!("{}.{:0width$}", self.value / unit, self.value % unit);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A number as a whole number of its last decimal place; `None` if it has more decimals.
pub(crate) fn parse(text: &str, decimals: usize) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let is_digits = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    let fraction_is_valid = fraction.is_none_or(|fraction| is_digits(fraction) && fraction.len() <= decimals);
    if !is_digits(whole) || !fraction_is_valid {
        return None;
    }
    format!("{whole}{:0<decimals$}", fraction.unwrap_or_default()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn decimal_shown_is_parsed_to_the_same_number(value in 0..1_000_000_000_u32, decimals in 1..4_u32) {
            let shown = Decimal { value: value.into(), decimals }.to_string();
            proptest::prop_assert_eq!(parse(&shown, decimals as usize), Some(value), "{}", shown);
        }
    }
}

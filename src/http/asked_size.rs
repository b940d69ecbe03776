//! What an instance may use, as a request asks for it.

use dockhost_domain::sizes::{Asked, Offer, SizeName};
use dockhost_domain::wire::Limits;

use super::response::details::FieldProblem;
use super::response::{ApiError, Code, Details};

/// Processors as thousandths. A body has them as a number, which may have more than three decimals.
fn cpu_millis(cpu: f64) -> Option<u32> {
    let millis = cpu * 1000.0;
    let rounded = millis.round();
    // Within the range of `f64` that is exact.
    let whole = (0.0..=f64::from(u32::MAX)).contains(&rounded).then_some(rounded as u32);
    whole.filter(|_| (millis - rounded).abs() < 1e-6)
}

/// The limits of an instance, as a request asks for them.
///
/// # Errors
/// `validation_failed`.
pub fn limits(
    offer: &Offer,
    size: Option<SizeName>,
    cpu: Option<f64>,
    memory_mib: Option<u32>,
    pids: Option<u32>,
) -> Result<Limits, ApiError> {
    let failed = |field: &str, problem: String| {
        let problems = vec![FieldProblem { field: field.to_owned(), problem }];
        ApiError::new(Code::ValidationFailed, "some fields are invalid").with(Details::Fields(problems))
    };
    let cpu_millis = match cpu {
        None => None,
        Some(cpu) => Some(cpu_millis(cpu).ok_or_else(|| failed("cpu", "must have at most three decimals".to_owned()))?),
    };
    let asked = Asked { size, cpu_millis, memory_mib, pids };
    offer.limits(&asked).map_err(|invalid| failed(invalid.member(), invalid.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_millis_of_a_number_with_three_decimals_is_exact() {
        let found = [0.5, 0.1, 1.0, 2.75, 0.001, 63.999, 0.0].map(cpu_millis);
        assert_eq!(found, [500, 100, 1000, 2750, 1, 63_999, 0].map(Some));
        for cpu in [0.0005, 1.2345, -1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert_eq!(cpu_millis(cpu), None, "{cpu}");
        }
    }
}

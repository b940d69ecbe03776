//! What an instance may use, as a request asks for it.

use dockhost_domain::sizes::{Asked, Offer, SizeName};
use dockhost_domain::wire::Limits;

use super::processors::Processors;
use super::response::ApiError;

/// The limits of an instance, as a request asks for them.
///
/// # Errors
/// `validation_failed`.
pub fn limits(
    offer: &Offer,
    size: Option<SizeName>,
    cpu: Option<Processors>,
    memory_mib: Option<u32>,
    pids: Option<u32>,
) -> Result<Limits, ApiError> {
    let asked = Asked { size, cpu_millis: cpu.map(Processors::millis), memory_mib, pids };
    offer.limits(&asked).map_err(|invalid| ApiError::invalid_field(invalid.member(), invalid.to_string()))
}

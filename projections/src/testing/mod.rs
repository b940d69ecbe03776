//! What only tests need.

#[cfg(test)]
pub(crate) mod events;
#[cfg(feature = "testing")]
mod steps;
#[cfg(feature = "testing")]
mod store;

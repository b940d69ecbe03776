//! Errors of lower layers: kept as a boxed cause, logged with their whole chain.

/// An error of a lower layer, kept for the service's own log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

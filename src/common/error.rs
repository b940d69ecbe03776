//! Errors of lower layers: boxed as a cause, logged with their whole chain.

/// An error of a lower layer, kept for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error and its sources, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

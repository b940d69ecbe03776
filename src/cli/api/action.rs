//! What people and administrators do with instances.

/// What to do with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stop it.
    Stop,
    /// Resume it.
    Resume,
    /// Delete it with its files.
    Delete,
}

//! Areas of the server's log that `DEBUG` can select, beside the modules: the targets of lines that are written in a place
//! which says little about them.

/// A line for each request (`DEBUG=dockhost:access`).
pub const ACCESS: &str = "dockhost::access";

//! The areas of the server's log that `DEBUG` can select, beside the modules (`DEBUG=dockhost:auth`): the targets of lines
//! about what operators look for, wherever in the code it happens.

/// Sign-ups, sign-ins and sign-outs, and refused ones.
pub const AUTH: &str = "dockhost::auth";
/// What is exchanged with backends: connections, heartbeats, reports, assignments.
pub const BACKEND: &str = "dockhost::backend";
/// What happens to containers: requested, placed, created, failed, deleted.
pub const CONTAINER: &str = "dockhost::container";
/// A line for each request.
pub const ACCESS: &str = "dockhost::access";

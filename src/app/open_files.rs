//! The limit of open files, which each connection counts against.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises this process's soft limit to the hard one: systems set the soft limit low for programs that can't deal with
/// many files. Logs a warning if the limit leaves too little room for this many connections of clients.
pub fn raise_limit(max_connections: usize) {
    /// What the process needs for anything else: the broker, the database, the program itself.
    const RESERVED: u64 = 256;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
    let current = getrlimit(Resource::Nofile).current;
    let needed = RESERVED.saturating_add(max_connections.try_into().unwrap_or(u64::MAX));
    if current.is_some_and(|current| current < needed) {
        tracing::warn!(limit = current, needed, "the limit of open files is too low for DOCKHOST_MAX_CONNECTIONS");
    }
}

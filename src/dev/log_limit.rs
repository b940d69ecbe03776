//! The size limit of the log under `dockhost dev`, chosen by the free space.
//!
//! nats-server lets streams reserve three quarters of what is free on its disk when it starts, and refuses a stream that
//! may take more. The default limit of the log is for a server's disk.

use std::fs;
use std::io;
use std::path::Path;

use crate::broker::streams::{RESERVED_BESIDE_LOG, StreamOptions};

/// The file that keeps the chosen limit, so that later runs don't change it.
pub const LIMIT_FILE: &str = "log-max-bytes";
/// What the database takes while the broker starts, and what is left for logs.
const MARGIN: u64 = 512 << 20;
/// A smaller log is soon full.
const MIN_LIMIT: u64 = 64 << 20;
const MIB: u64 = 1 << 20;

/// The free space does not suffice for any log.
#[derive(Debug, thiserror::Error)]
#[error("only {} MiB are free in {directory}; `dockhost dev` needs {} MiB", free / MIB, needed() / MIB)]
pub struct TooSmall {
    directory: String,
    free: u64,
}

/// The limit for the log in `data`, with a line for the user if it is less than the default. A limit that the user chose
/// stays, and so does that of an existing log.
///
/// # Errors
/// [`TooSmall`], or the directory can't be read or written.
pub fn choose(data: &Path, wanted: i64) -> anyhow::Result<i64> {
    if wanted != StreamOptions::default().max_bytes {
        return Ok(wanted);
    }
    let file = data.join(LIMIT_FILE);
    match fs::read_to_string(&file) {
        Ok(limit) => return Ok(limit.trim().parse().unwrap_or(wanted)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Err(_) => {}
    }
    if data.join("nats").exists() {
        return Ok(wanted);
    }
    let free = free_bytes(data)?;
    let Some(limit) = fitting(free, wanted) else {
        return Err(TooSmall { directory: data.display().to_string(), free }.into());
    };
    if limit < wanted {
        fs::write(&file, limit.to_string())?;
        eprintln!(
            "{} GiB are free: the event log may take {} MiB (to change it: DOCKHOST_LOG_MAX_BYTES)",
            free >> 30,
            limit >> 20
        );
    }
    Ok(limit)
}

/// The largest limit up to `wanted` that fits; `None` if there is too little space. In whole MiB.
fn fitting(free: u64, wanted: i64) -> Option<i64> {
    let room = (free / 4 * 3).checked_sub(RESERVED_BESIDE_LOG + MARGIN)?;
    let limit = i64::try_from(room / MIB * MIB).unwrap_or(i64::MAX);
    (room >= MIN_LIMIT).then_some(limit.min(wanted))
}

/// The least free space with which [`fitting`] finds a limit.
const fn needed() -> u64 {
    (RESERVED_BESIDE_LOG + MARGIN + MIN_LIMIT).div_ceil(3) * 4
}

/// The bytes that this user may still write to the file system of a directory.
///
/// # Errors
/// The error of the system.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn log_limit_fits_into_what_the_broker_may_reserve() {
        let wanted = StreamOptions::default().max_bytes;
        for free in [4 * GIB, 8 * GIB, 13 * GIB, 14 * GIB, 16 * GIB, 100 * GIB, needed()] {
            let limit = u64::try_from(fitting(free, wanted).unwrap()).unwrap();
            assert!(limit + RESERVED_BESIDE_LOG <= free / 4 * 3 && limit >= MIN_LIMIT, "{free}: {limit}");
        }
        assert_eq!(fitting(16 * GIB, wanted), Some(wanted));
        assert!(fitting(8 * GIB, wanted).unwrap() > 4 << 30);
        assert_eq!(fitting(needed() - 4, wanted), None);
    }

    #[test]
    fn log_limit_that_the_user_chose_or_that_exists_stays() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(choose(data.path(), 1 << 50).unwrap(), 1 << 50);
        fs::write(data.path().join(LIMIT_FILE), "123456789").unwrap();
        assert_eq!(choose(data.path(), StreamOptions::default().max_bytes).unwrap(), 123_456_789);
        fs::remove_file(data.path().join(LIMIT_FILE)).unwrap();
        fs::create_dir(data.path().join("nats")).unwrap();
        let default = StreamOptions::default().max_bytes;
        assert_eq!(choose(data.path(), default).unwrap(), default, "a log of an earlier release");
    }
}

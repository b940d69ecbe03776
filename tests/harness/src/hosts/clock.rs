//! The clock of one host, by libfaketime: the wall clock of its processes differs, the monotonic one does not.

use std::path::{Path, PathBuf};

const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

fn library() -> Option<&'static str> {
    LIBRARIES.into_iter().find(|path| Path::new(path).is_file())
}

pub(super) fn missing() -> Option<String> {
    library().is_none().then(|| "libfaketime is not installed (Debian: faketime)".to_owned())
}

/// The clock of one host.
#[derive(Debug, Clone)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    pub(super) fn new(file: &Path) -> Self {
        let clock = Self { file: file.to_owned() };
        clock.set_offset(0);
        clock
    }

    /// Sets how many seconds it is ahead. Running processes see it within a second.
    pub fn set_offset(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    pub(super) fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", library().unwrap_or_default().to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

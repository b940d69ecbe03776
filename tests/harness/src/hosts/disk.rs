//! A file system of its own, ext4 in a file: it can be full, and it can lose what was not synced, as in a power cut.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{run, run_words};

/// The size in GiB: more than the streams reserve. The file is sparse, and filling the disk does not fill the file.
const SIZE: u64 = 24;
/// The file that takes the free space.
const FILLER: &str = "filler";
/// ext4's shutdown without a log flush, as xfstests do it: what no sync has made durable is gone. The number is
/// `EXT4_IOC_SHUTDOWN`, its argument `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const SHUT_DOWN: &str = "import fcntl, os, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, (2).to_bytes(4, 'little'))";

/// A mounted file system; [`super::Hosts`] unmounts it.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    path: PathBuf,
}

impl Disk {
    /// Creates and mounts one below this directory.
    pub(super) fn create(directory: &Path, name: &str) -> Result<Self, String> {
        let disk = Self { image: directory.join(format!("{name}.ext4")), path: directory.join(name) };
        std::fs::create_dir_all(&disk.path).map_err(|error| error.to_string())?;
        let image = disk.image.display();
        run(&format!("truncate -s {SIZE}G {image}"))?;
        // No reserved blocks, which root could still use on a full disk.
        run(&format!("mkfs.ext4 -q -m 0 -J size=16 -E lazy_itable_init=1,nodiscard {image}"))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Whether this machine permits disks that lose what was not synced.
    pub(super) fn try_out(directory: &Path) -> Result<(), String> {
        let disk = Self::create(directory, "trial")?;
        let tried = disk.lose_unsynced();
        let _ = run(&format!("umount {}", disk.path.display()));
        let _ = std::fs::remove_file(&disk.image);
        tried
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn mount(&self) -> Result<(), String> {
        run(&format!("mount -o loop {} {}", self.image.display(), self.path.display())).map(drop)
    }

    /// Takes all free space.
    ///
    /// # Panics
    /// If there is still space.
    pub fn fill(&self) {
        let filler = self.path.join(FILLER);
        for size in [1 << 20, 1 << 12] {
            let block = vec![0; size];
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&filler).unwrap();
            // Allocating is faster than writing; the rest is written.
            if size > 1 << 12 {
                let free = run(&format!("stat -f -c %a*%S {}", self.path.display())).unwrap();
                let bytes: u64 = free.trim().split('*').filter_map(|n| n.parse::<u64>().ok()).product();
                let _ = run(&format!("fallocate -l {} {}", bytes.saturating_sub(8 << 20), filler.display()));
            }
            while std::io::Write::write_all(&mut file, &block).is_ok() {}
        }
        let probe = self.path.join("probe");
        assert!(std::fs::write(&probe, vec![1; 1 << 16]).is_err(), "{} is not full", self.path.display());
        let _ = std::fs::remove_file(probe);
    }

    /// Gives the space free again.
    pub fn free(&self) {
        let _ = std::fs::remove_file(self.path.join(FILLER));
    }

    /// Loses what was not synced. No process may use the disk.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn lose_unsynced(&self) -> Result<(), String> {
        run_words(["python3", "-c", SHUT_DOWN, &self.path.to_string_lossy()])?;
        let mut unmounted = Ok(String::new());
        for _ in 0..50 {
            unmounted = run(&format!("umount {}", self.path.display()));
            if unmounted.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        unmounted?;
        self.mount()
    }
}

/// Mounts an empty, full file system over a directory of a mounted disk: what is open there goes on, and no file can be
/// created or found. Ends when the disk is unmounted.
///
/// # Panics
/// If the kernel refuses it.
pub fn cover(directory: &Path) {
    let path = directory.display();
    run(&format!("mount -t tmpfs -o size=4k,nr_inodes=2 tmpfs {path}")).unwrap();
    std::fs::write(directory.join(FILLER), [0; 4096]).unwrap();
}

/// Unmounts what is mounted below a directory, also while it is in use.
pub(super) fn unmount_below(directory: &Path) {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let below = format!("{}/", directory.display());
    for path in mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(&below)) {
        let _ = run(&format!("umount -l {path}"));
    }
}

//! The memory of this process, and the limit that it lives under: that of its control group (version 2 or 1), or else the
//! machine's memory.

use std::fs;
use std::path::Path;

/// The share of the limit from which on an operator should know, in percent.
const HIGH_PERCENT: u64 = 80;

/// The memory in use, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of this process.
    pub resident: u64,
    /// Of everything under the limit, without files that the kernel can drop at any time.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

impl Memory {
    /// Now; none where the kernel does not tell.
    #[must_use]
    pub fn read() -> Option<Self> {
        Self::read_below(Path::new("/"))
    }

    fn read_below(root: &Path) -> Option<Self> {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let resident = kilobytes(&text("proc/self/status")?, "VmRSS:")?;
        let (used, limit) = machine(&text("proc/meminfo")?)?;
        let group = group_of_version_2(&text).or_else(|| group_of_version_1(&text));
        // A limit beyond the machine's memory limits nothing.
        let (used, limit) = group.filter(|(_, group_limit)| *group_limit <= limit).unwrap_or((used, limit));
        Some(Self { resident, used, limit })
    }

    /// How much of the limit is in use, in percent.
    #[must_use]
    pub const fn percent(&self) -> u64 {
        match self.used.saturating_mul(100).checked_div(self.limit) {
            Some(percent) => percent,
            None => 0,
        }
    }

    /// Whether so much is in use that an operator should know.
    #[must_use]
    pub const fn is_high(&self) -> bool {
        self.percent() >= HIGH_PERCENT
    }
}

/// The memory in use and all memory, of `/proc/meminfo`.
fn machine(meminfo: &str) -> Option<(u64, u64)> {
    let total = kilobytes(meminfo, "MemTotal:")?;
    Some((total.saturating_sub(kilobytes(meminfo, "MemAvailable:")?), total))
}

fn group_of_version_2(text: &impl Fn(&str) -> Option<String>) -> Option<(u64, u64)> {
    let groups = text("proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    // Within a container the path may be that of the host, and the files those of the container.
    [path, ""].into_iter().find_map(|path| {
        let file = |name: &str| text(&format!("sys/fs/cgroup{}/{name}", path.trim_end_matches('/')));
        let limit = file("memory.max")?.trim().parse().ok()?;
        let current: u64 = file("memory.current")?.trim().parse().ok()?;
        let droppable = value(&file("memory.stat")?, "inactive_file").unwrap_or(0);
        Some((current.saturating_sub(droppable), limit))
    })
}

fn group_of_version_1(text: &impl Fn(&str) -> Option<String>) -> Option<(u64, u64)> {
    let file = |name: &str| text(&format!("sys/fs/cgroup/memory/{name}"));
    let limit = file("memory.limit_in_bytes")?.trim().parse().ok()?;
    let current: u64 = file("memory.usage_in_bytes")?.trim().parse().ok()?;
    let droppable = value(&file("memory.stat")?, "total_inactive_file").unwrap_or(0);
    Some((current.saturating_sub(droppable), limit))
}

/// The number after a name at the beginning of a line.
fn value(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '\t']))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The same in bytes, of a number in kB.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// The memory that is read from these files, on a machine with 1000 MiB of which 600 are in use.
    fn read(files: &[(&str, &str)]) -> Memory {
        let root = tempfile::tempdir().unwrap();
        let machine = [
            ("proc/self/status", "Name:\tdockhost\nVmRSS:\t   20480 kB\n"),
            ("proc/meminfo", "MemTotal:  1024000 kB\nMemFree: 1 kB\nMemAvailable:  409600 kB\n"),
        ];
        for (path, text) in machine.iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Memory::read_below(root.path()).unwrap()
    }

    #[test]
    fn memory_without_a_group_is_the_machines() {
        let memory = read(&[]);
        assert_eq!(memory, Memory { resident: 20 * MIB, used: 600 * MIB, limit: 1000 * MIB });
        assert_eq!((memory.percent(), memory.is_high()), (60, false));
    }

    #[test]
    fn memory_of_a_group_of_version_2_is_without_files_that_can_be_dropped() {
        for directory in ["sys/fs/cgroup/system.slice/dockhost.service", "sys/fs/cgroup"] {
            let file = |name: &str| format!("{directory}/{name}");
            let (max, current, stat) = (file("memory.max"), file("memory.current"), file("memory.stat"));
            let memory = read(&[
                ("proc/self/cgroup", "0::/system.slice/dockhost.service\n"),
                (&max, "104857600\n"),
                (&current, "94371840\n"),
                (&stat, "anon 1\ninactive_file 10485760\n"),
            ]);
            assert_eq!((memory.used, memory.limit), (80 * MIB, 100 * MIB), "{directory}");
            assert!(memory.is_high());
        }
    }

    #[test]
    fn memory_of_a_group_without_a_limit_is_the_machines() {
        for (max, path) in [("max\n", "sys/fs/cgroup/memory.max"), ("9223372036854771712", "sys/fs/cgroup/memory.max")]
        {
            let memory = read(&[
                ("proc/self/cgroup", "0::/\n"),
                (path, max),
                ("sys/fs/cgroup/memory.current", "94371840\n"),
                ("sys/fs/cgroup/memory.stat", "inactive_file 0\n"),
            ]);
            assert_eq!(memory.limit, 1000 * MIB, "{max}");
        }
    }

    #[test]
    fn memory_of_a_group_of_version_1_is_read() {
        let memory = read(&[
            ("proc/self/cgroup", "5:memory:/docker/abc\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "209715200\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 52428800\n"),
        ]);
        assert_eq!((memory.used, memory.limit, memory.percent()), (50 * MIB, 200 * MIB, 25));
    }

    #[test]
    fn memory_of_this_process_is_read() {
        let memory = Memory::read().unwrap();
        assert!(memory.resident > MIB && memory.used > 0 && memory.limit >= memory.used, "{memory:?}");
    }
}

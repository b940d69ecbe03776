//! Processor time and memory of a process, from `/proc`.

use std::time::Duration;

/// Clock ticks per second in `/proc`; the same on every Linux that DockHost runs on.
const TICKS: u64 = 100;

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// The processor time that the process has used so far.
pub fn processor(pid: u32) -> Duration {
    let stat = read(pid, "stat");
    // The second field, the program's name in parentheses, may contain spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / TICKS)
}

fn kilobytes(pid: u32, name: &str) -> f64 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim_start_matches(':').split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// Resident memory in MB.
pub fn memory(pid: u32) -> f64 {
    kilobytes(pid, "VmRSS") / 1024.0
}

/// Peak resident memory in MB.
pub fn most_memory(pid: u32) -> f64 {
    kilobytes(pid, "VmHWM") / 1024.0
}

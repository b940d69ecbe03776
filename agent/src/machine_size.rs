//! What this machine has for instances.

use dockhost_domain::wire::MachineSize;
use sysinfo::System;

use crate::config::{Config, RuntimeKind};

/// As configured; what is not configured, as found. A simulated machine has no size unless one is configured completely.
#[must_use]
pub fn of(config: &Config) -> Option<MachineSize> {
    let found = if config.runtime == Some(RuntimeKind::Simulated) { None } else { found() };
    let memory_mib = config.memory_mib.or_else(|| Some(found?.memory_mib))?;
    let cpu_millis = config.cpu_millis.or_else(|| Some(found?.cpu_millis))?;
    Some(MachineSize { memory_mib, cpu_millis })
}

/// Its memory and processors; `None` if the system does not say.
fn found() -> Option<MachineSize> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    let memory_mib = u32::try_from(system.total_memory() / (1024 * 1024)).ok().filter(|memory| *memory > 0)?;
    let processors = std::thread::available_parallelism().ok()?.get();
    Some(MachineSize { memory_mib, cpu_millis: u32::try_from(processors.saturating_mul(1000)).ok()? })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn machine_size_is_what_is_configured_else_found() {
        let of = |args: &[&str]| of(&Config::parse_from([&["dockhost-agent", "--api-key=k"][..], args].concat()));
        let found = of(&[]).unwrap();
        assert!(found.memory_mib > 16 && found.cpu_millis >= 1000, "{found:?}");
        let memory = MachineSize { memory_mib: 4096, ..found };
        assert_eq!(of(&["--memory-mib=4096"]), Some(memory));
        let both = ["--runtime=simulated", "--memory-mib=4096", "--cpu-millis=500"];
        assert_eq!(of(&both), Some(MachineSize { memory_mib: 4096, cpu_millis: 500 }));
        assert_eq!((of(&both[..1]), of(&both[..2])), (None, None));
    }
}

//! What users get, and how much of a machine that may be.

use clap::Args;
use clap::builder::RangedI64ValueParser;
use dockhost_domain::room::{Factor, Overcommit};
use dockhost_domain::sizes::{MAX_LIMITS, MIN_LIMITS, Offer, Sizes};
use dockhost_domain::wire::Limits;

/// What users get.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Instances")]
pub struct InstanceArgs {
    /// Instances that each user may have, deleted ones not counted; 0 for no limit.
    #[arg(long, env = "DOCKHOST_MAX_INSTANCES_PER_USER", value_name = "N", default_value_t = 5)]
    pub max_instances_per_user: u32,
    /// Image of new instances [default: the agent's].
    #[arg(long, env = "DOCKHOST_INSTANCE_IMAGE", value_name = "IMAGE")]
    pub instance_image: Option<String>,
    /// Memory of an instance, in MiB.
    #[arg(long, env = "DOCKHOST_INSTANCE_MEMORY_MIB", value_name = "MIB", default_value_t = 1024)]
    pub instance_memory_mib: u32,
    /// CPU time of an instance, in thousandths of a CPU.
    #[arg(long, env = "DOCKHOST_INSTANCE_CPU_MILLIS", value_name = "MILLIS", default_value_t = 1000)]
    pub instance_cpu_millis: u32,
    /// Processes and threads of an instance.
    #[arg(long, env = "DOCKHOST_INSTANCE_PIDS", value_name = "N", default_value_t = 512)]
    pub instance_pids: u32,
    /// Sizes that instances can ask for by name, as `NAME=PROCESSORS/MIB/PROCESSES`, separated by commas.
    #[arg(
        long,
        env = "DOCKHOST_SIZES",
        value_name = "SIZES",
        default_value = "small=0.5/512/256,medium=1/1024/512,large=2/2048/1024"
    )]
    pub sizes: Sizes,
    /// The most memory that an instance can ask for without a size, in MiB [default: that of the largest size].
    #[arg(long, env = "DOCKHOST_INSTANCE_MAX_MEMORY_MIB", value_name = "MIB", value_parser = range(MIN_LIMITS.memory_mib, MAX_LIMITS.memory_mib))]
    pub instance_max_memory_mib: Option<u32>,
    /// The most CPU time that an instance can ask for without a size, in thousandths of a CPU [default: that of the largest
    /// size].
    #[arg(long, env = "DOCKHOST_INSTANCE_MAX_CPU_MILLIS", value_name = "MILLIS", value_parser = range(MIN_LIMITS.cpu_millis, MAX_LIMITS.cpu_millis))]
    pub instance_max_cpu_millis: Option<u32>,
    /// The most processes and threads that an instance can ask for without a size [default: those of the largest size].
    #[arg(long, env = "DOCKHOST_INSTANCE_MAX_PIDS", value_name = "N", value_parser = range(MIN_LIMITS.pids, MAX_LIMITS.pids))]
    pub instance_max_pids: Option<u32>,
    /// How many times the processors of a machine its instances may have in all, or `off`.
    #[arg(long, env = "DOCKHOST_CPU_OVERCOMMIT", value_name = "FACTOR", default_value_t = Overcommit::default().cpu_percent)]
    pub cpu_overcommit: Factor,
    /// How many times the memory of a machine its instances may have in all, or `off`.
    #[arg(long, env = "DOCKHOST_MEMORY_OVERCOMMIT", value_name = "FACTOR", default_value_t = Overcommit::default().memory_percent)]
    pub memory_overcommit: Factor,
}

/// Accepts these numbers and those between them.
fn range(from: u32, to: u32) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(from)..=i64::from(to))
}

impl InstanceArgs {
    /// The instances that each user may have; none for no limit.
    #[must_use]
    pub fn quota(&self) -> Option<u32> {
        Some(self.max_instances_per_user).filter(|max| *max > 0)
    }

    /// What instances can have.
    #[must_use]
    pub fn offer(&self) -> Offer {
        let default = Limits {
            memory_mib: self.instance_memory_mib,
            cpu_millis: self.instance_cpu_millis,
            pids: self.instance_pids,
        };
        let largest =
            |of: fn(Limits) -> u32| self.sizes.iter().map(|(_, limits)| of(limits)).fold(of(default), u32::max);
        let max = Limits {
            memory_mib: self.instance_max_memory_mib.unwrap_or_else(|| largest(|limits| limits.memory_mib)),
            cpu_millis: self.instance_max_cpu_millis.unwrap_or_else(|| largest(|limits| limits.cpu_millis)),
            pids: self.instance_max_pids.unwrap_or_else(|| largest(|limits| limits.pids)),
        };
        Offer { default, max, sizes: self.sizes.clone() }
    }

    /// How much of a machine its instances may have in all.
    #[must_use]
    pub const fn overcommit(&self) -> Overcommit {
        Overcommit { cpu_percent: self.cpu_overcommit, memory_percent: self.memory_overcommit }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use dockhost_domain::sizes::Asked;

    use super::*;

    #[derive(Parser)]
    struct Server {
        #[command(flatten)]
        args: InstanceArgs,
    }

    fn parse(args: &[&str]) -> Result<InstanceArgs, clap::Error> {
        Server::try_parse_from(std::iter::once(&"server").chain(args)).map(|server| server.args)
    }

    #[test]
    fn offer_has_the_default_sizes_and_their_largest_values_as_the_maximum() {
        let offer = parse(&[]).unwrap().offer();
        let size = |name: &str| offer.limits(&Asked { size: Some(name.parse().unwrap()), ..Asked::default() }).unwrap();
        assert_eq!(size("medium"), offer.default, "the default is a size");
        assert_eq!(size("large"), offer.max);
        let args = ["--sizes=tiny=0.1/64/32", "--instance-max-memory-mib=4096", "--instance-pids=999"];
        let max = parse(&args).unwrap().offer().max;
        assert_eq!((max.memory_mib, max.cpu_millis, max.pids), (4096, 1000, 999));
    }

    #[test]
    fn sizes_and_factors_of_overcommit_are_parsed_strictly() {
        let overcommit = |args: &[&str]| parse(args).map(|args| args.overcommit());
        assert_eq!(overcommit(&[]).unwrap(), Overcommit::default());
        let off = overcommit(&["--cpu-overcommit=off", "--memory-overcommit=1.25"]).unwrap();
        assert_eq!(
            (off.cpu_percent.to_string(), off.memory_percent.to_string()),
            ("off".to_owned(), "1.25".to_owned())
        );
        for arg in [
            "--sizes=",
            "--sizes=small",
            "--sizes=small=1/512/256,",
            "--cpu-overcommit=0",
            "--memory-overcommit=-1",
            "--instance-max-memory-mib=31",
            "--instance-max-cpu-millis=0",
            "--instance-max-pids=1000001",
        ] {
            assert!(parse(&[arg]).is_err(), "{arg} was accepted");
        }
    }
}

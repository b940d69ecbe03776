//! A short mix of faults with a fixed seed: each kind of process is killed once in mid-traffic.
//!
//! `make chaos` runs long ones. See `docs/TESTING.md`.

use dockhost_chaos::checker;
use dockhost_chaos::history::Verdict;
use dockhost_chaos::report::{Plan, Report, Topology};
use dockhost_chaos::run::run;

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_promised_holds_while_each_part_is_killed() {
    let plan = Plan {
        seed: 7,
        rounds: 1,
        minutes: 5,
        topology: Topology::R1,
        replicas: 2,
        agents: 2,
        clients: 4,
        quota: 4,
        heals_within: 60,
    };
    let report = run(plan, |line| println!("{line}")).await;
    let place = Report::place(&report.plan);
    report.save(&place).unwrap();
    let violations: Vec<String> = checker::check(&report).iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "the report is {}\n{}", place.display(), violations.join("\n"));
    // A run in which nothing was done, or nothing went wrong, would say nothing.
    let count = |verdict| report.history.iter().filter(|operation| operation.verdict() == verdict).count();
    assert!(count(Verdict::Done) > 20, "{} done", count(Verdict::Done));
    assert!(count(Verdict::Unknown) > 0, "nothing was unknown");
    assert_eq!(report.faults.len(), 4);
}

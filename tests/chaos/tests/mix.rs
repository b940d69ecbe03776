//! A short run with a fixed seed: each kind of process is killed once, and one link is cut, one lossy, one node slow, one
//! clock wrong. `make chaos` does long runs with all kinds of faults; see `docs/TESTING.md`.

use dockhost_chaos::checker;
use dockhost_chaos::history::OutcomeClass;
use dockhost_chaos::report::{Kind, Plan, Report, Topology};
use dockhost_chaos::run::run;

#[tokio::test(flavor = "multi_thread")]
async fn chaos_short_mix_of_faults_invariants_hold() {
    let plan = Plan {
        seed: 7,
        rounds: 1,
        minutes: 5,
        topology: Topology::R1,
        replicas: 2,
        agents: 3,
        clients: 4,
        quota: 4,
        heals_within: 60,
        kinds: vec![
            Kind::KillLeader,
            Kind::KillNats,
            Kind::KillMongod,
            Kind::KillAgent,
            Kind::CutReplicaFromNats,
            Kind::LossyReplica,
            Kind::SlowNats,
            Kind::ClockAgent,
        ],
        pairs: 0.0,
        max_hold_ms: 5000,
        measures_availability: false,
    };
    let planned = plan.kinds.len();
    let report = run(plan, |line| println!("{line}")).await;
    let path = Report::default_path(&report.plan);
    report.save(&path).unwrap();
    let violations: Vec<String> = checker::check(&report).iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "report: {}\n{}", path.display(), violations.join("\n"));
    // A run without successful or without interrupted requests proves nothing.
    let count = |class| report.history.iter().filter(|operation| operation.class() == class).count();
    assert!(count(OutcomeClass::Done) > 20, "{} done", count(OutcomeClass::Done));
    assert!(count(OutcomeClass::Unknown) > 0, "no outcome was unknown");
    assert_eq!(report.faults.len() + report.left_out.len(), planned);
}

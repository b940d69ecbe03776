//! The nemesis: kills and pauses parts while clients ask, one fault after another.
//!
//! In: a seed, and how often each kind of fault is wanted. Out: what was done to which process, when, and the request in
//! whose outcome it showed. Each fault is proved twice where it can be: the kernel says that the process is gone (or
//! stopped), and a client notices.

use std::time::{Duration, Instant};

use dockhost_harness::http::Client;
use dockhost_harness::wait_until;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use crate::history::{Moment, Recorder};
use crate::report::{Act, Fault, Part, Plan, Topology};
use crate::site::Site;
use crate::traffic::{Request, Who, ask};

/// What a client notices within.
const NOTICED: Duration = Duration::from_secs(20);
/// The kernel needs a moment to end or stop a process.
const SIGNALLED: Duration = Duration::from_secs(20);

/// What is still to be done: all kinds equally often, in an order that the seed gives.
#[must_use]
pub fn faults(plan: &Plan) -> Vec<(Act, Part)> {
    let parts = [Part::Replica, Part::Nats, Part::Mongod, Part::Agent];
    let mut all: Vec<(Act, Part)> = Vec::new();
    for round in 0..plan.rounds {
        for part in parts {
            all.push((Act::Kill, part));
            // A process that hangs is another fault; a third as often, it costs more time.
            if round % 3 == 2 {
                all.push((Act::Pause, part));
            }
        }
    }
    all.shuffle(&mut StdRng::seed_from_u64(plan.seed));
    all
}

/// The hand that does it.
pub struct Nemesis<'a> {
    site: &'a mut Site,
    recorder: Recorder,
    random: StdRng,
    topology: Topology,
}

impl<'a> Nemesis<'a> {
    pub fn new(site: &'a mut Site, recorder: &Recorder, plan: &Plan) -> Self {
        let random = StdRng::seed_from_u64(plan.seed ^ 0xFA17);
        Self { site, recorder: recorder.clone(), random, topology: plan.topology }
    }

    /// Waits a moment, does one fault, waits another, and heals it.
    pub async fn strike(&mut self, act: Act, part: Part) -> Fault {
        let gap = self.random.random_range(300..2500);
        tokio::time::sleep(Duration::from_millis(gap)).await;
        let targets = self.targets(act, part).await;
        let pids: Vec<u32> = targets.iter().filter_map(|target| self.pid(part, *target)).collect();
        let begun = self.recorder.now();
        for target in &targets {
            match act {
                Act::Kill => self.kill(part, *target).await,
                Act::Pause => self.pause(part, *target).await,
            }
        }
        let mut processes = Vec::new();
        for pid in pids {
            processes.push((pid, happened(act, pid).await));
        }
        let shown_by = if act == Act::Kill { self.noticed(part, &targets).await } else { None };
        // Long enough at times for a lease to run out or a machine to be given up.
        let longest = if self.random.random_bool(0.15) { 20_000 } else { 7_000 };
        let hold = self.random.random_range(200..longest);
        tokio::time::sleep(Duration::from_millis(hold)).await;
        for target in &targets {
            match act {
                Act::Kill => self.restart(part, *target).await,
                Act::Pause => self.resume(part, *target).await,
            }
        }
        let healed: Moment = self.recorder.now();
        Fault { act, part, targets, begun, healed, processes, shown_by }
    }

    /// Which ones: mostly one; of three nodes of the broker two at times; of the database the primary mostly.
    async fn targets(&mut self, act: Act, part: Part) -> Vec<usize> {
        let world = &self.site.world;
        let three: Vec<usize> = (0..3).collect();
        match (part, self.topology) {
            (Part::Replica, _) => {
                // The leader half of the time: its roles are what is delicate.
                if self.random.random_bool(0.5) {
                    vec![world.leader().await]
                } else {
                    vec![self.random.random_range(0..world.replicas.len())]
                }
            }
            (Part::Agent, _) => vec![self.random.random_range(0..world.agents.len())],
            (Part::Nats | Part::Mongod, Topology::R1) => vec![0],
            (Part::Nats, Topology::R3) => {
                let many = if act == Act::Kill && self.random.random_bool(0.4) { 2 } else { 1 };
                three.choose_multiple(&mut self.random, many).copied().collect()
            }
            (Part::Mongod, Topology::R3) => {
                let primary = match &world.mongods {
                    Some(mongods) => mongods.primary().await,
                    None => 0,
                };
                vec![if self.random.random_bool(0.7) { primary } else { self.random.random_range(0..3) }]
            }
        }
    }

    fn pid(&self, part: Part, target: usize) -> Option<u32> {
        use dockhost::dev::process::Child;
        let world = &self.site.world;
        match part {
            Part::Replica => world.replicas[target].process.as_ref().and_then(Child::pid),
            Part::Agent => world.agents[target].process.as_ref().and_then(Child::pid),
            Part::Nats => world.nats.pid(target),
            Part::Mongod => world.mongods.as_ref().and_then(|mongods| mongods.pid(target)),
        }
    }

    async fn kill(&mut self, part: Part, target: usize) {
        match part {
            Part::Replica => self.site.world.kill_replica(target).await,
            Part::Agent => self.site.kill_agent(target).await,
            Part::Nats => self.site.world.nats.kill_node(target).await,
            Part::Mongod => self.site.world.mongods.as_mut().unwrap().kill(target).await,
        }
    }

    async fn restart(&mut self, part: Part, target: usize) {
        match part {
            Part::Replica => self.site.world.restart_replica(target).await,
            Part::Agent => self.site.world.start_agent(target, &[]),
            Part::Nats => self.site.world.nats.restart_node(target).await,
            Part::Mongod => self.site.world.mongods.as_mut().unwrap().restart(target).await,
        }
    }

    async fn pause(&mut self, part: Part, target: usize) {
        match part {
            Part::Replica => self.site.world.pause_replica(target).await,
            Part::Agent => self.site.world.pause_agent(target).await,
            Part::Nats => self.site.world.nats.pause_node(target).await,
            Part::Mongod => self.site.world.mongods.as_mut().unwrap().pause(target).await,
        }
    }

    async fn resume(&mut self, part: Part, target: usize) {
        match part {
            Part::Replica => self.site.world.resume_replica(target).await,
            Part::Agent => self.site.world.resume_agent(target).await,
            Part::Nats => self.site.world.nats.resume_node(target).await,
            Part::Mongod => self.site.world.mongods.as_mut().unwrap().resume(target).await,
        }
    }

    /// Asks until an answer (or the lack of one) shows the fault.
    async fn noticed(&self, part: Part, targets: &[usize]) -> Option<String> {
        let replica = match part {
            Part::Replica => *targets.first()?,
            Part::Nats | Part::Mongod if self.topology == Topology::R1 => 0,
            _ => return None,
        };
        let client = Client::new(&self.site.world.replicas[replica].url);
        let word = if part == Part::Nats { "broker" } else { "database" };
        let deadline = Instant::now() + NOTICED;
        while Instant::now() < deadline {
            let who = Who { client: "nemesis", replica, user: None };
            let (id, answer) = ask(&client, who, &self.recorder, &Request::health()).await;
            let shows = match answer {
                None => part == Part::Replica,
                Some(answer) => answer.body["down"].as_array().into_iter().flatten().any(|down| down == word),
            };
            if shows {
                return Some(id);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }
}

/// Whether the kernel says that the process is gone, or stopped.
async fn happened(act: Act, pid: u32) -> bool {
    let deadline = Instant::now() + SIGNALLED;
    while Instant::now() < deadline {
        let state = state(pid);
        let is_so = match act {
            Act::Kill => state.is_none_or(|state| state == 'Z'),
            Act::Pause => state == Some('T'),
        };
        if is_so {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// The state of a process, as `/proc` has it.
fn state(pid: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}

/// All processes run and answer again.
pub async fn all_run(site: &Site) {
    wait_until("all replicas answer", Duration::from_secs(60), async || {
        for (n, replica) in site.world.replicas.iter().enumerate() {
            let asked = Client::new(&replica.url);
            let asked = asked.try_send(reqwest::Method::GET, "/health", &[], None).await;
            if let Err(error) = asked {
                return Err(format!("replica {n}: {error}"));
            }
        }
        Ok(())
    })
    .await;
}

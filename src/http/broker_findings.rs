//! What is wrong with the broker, although it answers: the part of `/health` that reads do not show.

use std::time::Duration;

use super::views::health::Part;
use crate::broker::store_room::NodeRoom;
use crate::broker::streams::{ASSIGNMENTS, EVENTS, KEYS_STREAM, REPORTS};
use crate::broker::write_probe::MAX_PROOF_AGE;
use crate::replica::role_watch::Role;
use crate::replica::standstill::Standstill;

/// Without a leader, or with one and storing nothing, for so long, a stream counts as down: longer than an election takes.
const MAX_LEADERLESS: Duration = Duration::from_secs(10);
/// The streams without which no command is carried out. Nobody leads without the lease's stream, which shows by itself.
const NEEDED: [&str; 4] = [EVENTS, KEYS_STREAM, REPORTS, ASSIGNMENTS];

/// What this replica knows about the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerFacts {
    /// How long ago the last acknowledged write began.
    pub write_age: Duration,
    /// The streams without a leader, and for how long.
    pub leaderless: Vec<(&'static str, Duration)>,
    /// The streams that were made again, and how long ago.
    pub remade: Vec<(&'static str, Duration)>,
    /// The streams that have a leader and store nothing, and for how long.
    pub unstored: Vec<(&'static str, Duration)>,
    /// The streams that got another leader because they stored nothing, each with the former leader, and how long ago.
    pub moved: Vec<(&'static str, String, Duration)>,
    /// The streams of which a node's copy stays behind, with that node.
    pub lagging: Vec<(&'static str, String)>,
    /// The nodes that keep no copy of the event log.
    pub absent_nodes: Vec<String>,
    /// The node of the broker whose store is fullest, if that is known.
    pub fullest_store: Option<NodeRoom>,
    /// The leader's roles that don't get on, and for how long.
    pub stalled: Vec<(Role, Duration)>,
    /// The machines that carry out nothing, or late, if there are such.
    pub standstill: Option<Standstill>,
}

/// What follows for `/health`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The parts that are down.
    pub down: Vec<Part>,
    /// Whether something is wrong that does not stop commands.
    pub is_degraded: bool,
    /// What is wrong or was, in plain words.
    pub problems: Vec<String>,
}

impl BrokerFacts {
    /// What is wrong with a broker that answers.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut found = Findings::default();
        if self.write_age >= MAX_PROOF_AGE {
            found.down.push(Part::Writes);
            let seconds = self.write_age.as_secs();
            found.problems.push(format!(
                "the broker has acknowledged no write for {seconds} s, so commands fail; if its disk was full, make room \
                 and restart nats-server, which does not store again by itself"
            ));
        }
        for (stream, since) in self.leaderless.iter().filter(|(_, since)| *since >= MAX_LEADERLESS) {
            let is_needed = NEEDED.contains(stream);
            if is_needed && !found.down.contains(&Part::Streams) {
                found.down.push(Part::Streams);
            }
            found.is_degraded |= !is_needed;
            let seconds = since.as_secs();
            found.problems.push(format!("the broker's stream {stream} has had no leader for {seconds} s"));
        }
        for (stream, ago) in &self.remade {
            let minutes = ago.as_secs() / 60;
            found
                .problems
                .push(format!("the broker's stream {stream} never had a leader and was made again {minutes} min ago"));
        }
        self.find_streams_that_store_nothing(&mut found);
        for (role, since) in &self.stalled {
            found.is_degraded = true;
            let (role, seconds) = (role.name(), since.as_secs());
            found.problems.push(format!(
                "the leader's role {role} has finished nothing for {seconds} s, although work waits: not everything is \
                 carried out"
            ));
        }
        if let Some(standstill) = self.standstill {
            found.is_degraded = true;
            found.problems.push(standstill.to_string());
        }
        if let Some(room) = self.fullest_store.as_ref().filter(|room| room.is_nearly_full()) {
            found.is_degraded = true;
            let (node, percent, left) = (&room.node, room.percent(), room.left());
            found.problems.push(format!(
                "the store of node {node} of the broker is {percent} % full: all streams together may take {left} bytes more"
            ));
        }
        for node in &self.absent_nodes {
            found.is_degraded = true;
            found.problems.push(format!(
                "node {node} of the broker keeps no copy of the event log: it is down, or its JetStream is disabled \
                 because its disk was full; make room and restart that nats-server"
            ));
        }
        for (stream, node) in self.lagging.iter().filter(|(_, node)| !self.absent_nodes.contains(node)) {
            found.is_degraded = true;
            found.problems.push(format!(
                "node {node} of the broker does not keep up its copy of the stream {stream}; if its disk was full, make \
                 room and restart that nats-server"
            ));
        }
        found
    }

    fn find_streams_that_store_nothing(&self, found: &mut Findings) {
        // Of EVENTS the age of the last write tells.
        let unstored = self.unstored.iter().filter(|(stream, since)| *stream != EVENTS && *since >= MAX_LEADERLESS);
        for (stream, since) in unstored {
            let is_needed = NEEDED.contains(stream);
            if is_needed && !found.down.contains(&Part::Streams) {
                found.down.push(Part::Streams);
            }
            found.is_degraded |= !is_needed;
            let seconds = since.as_secs();
            found.problems.push(format!(
                "the broker's stream {stream} has stored nothing for {seconds} s, although it has a leader"
            ));
        }
        for (stream, node, ago) in &self.moved {
            let minutes = ago.as_secs() / 60;
            found.problems.push(format!(
                "node {node} of the broker led the stream {stream} and stored nothing, so another node was made the leader \
                 {minutes} min ago; if its disk is full, make room and restart that nats-server"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::streams::{LEADER_STREAM, TIMERS};

    const LONG: Duration = Duration::from_secs(11);

    fn findings(facts: &BrokerFacts) -> (Vec<Part>, bool, usize) {
        let Findings { down, is_degraded, problems } = facts.findings();
        (down, is_degraded, problems.len())
    }

    #[test]
    fn findings_name_each_part_that_stops_commands() {
        assert_eq!(BrokerFacts::default().findings(), Findings::default());
        let of = |stream: &'static str, since| BrokerFacts { leaderless: vec![(stream, since)], ..Default::default() };
        for stream in NEEDED {
            assert_eq!(findings(&of(stream, LONG)), (vec![Part::Streams], false, 1), "{stream}");
            assert_eq!(findings(&of(stream, Duration::from_secs(9))), (vec![], false, 0), "an election");
        }
        for stream in [LEADER_STREAM, TIMERS] {
            assert_eq!(findings(&of(stream, LONG)), (vec![], true, 1), "{stream}");
        }
        let old = BrokerFacts { write_age: MAX_PROOF_AGE, ..Default::default() };
        assert_eq!(findings(&old), (vec![Part::Writes], false, 1));
    }

    #[test]
    fn findings_of_an_absent_node_are_degraded_and_name_it() {
        let facts = BrokerFacts { absent_nodes: vec!["nats-2".to_owned()], ..Default::default() };
        let found = facts.findings();
        assert!(found.down.is_empty() && found.is_degraded && found.problems[0].contains("nats-2"), "{found:?}");
    }

    #[test]
    fn findings_of_a_stream_that_stores_nothing_are_as_without_a_leader() {
        let of = |stream: &'static str, since| BrokerFacts { unstored: vec![(stream, since)], ..Default::default() };
        assert_eq!(findings(&of(REPORTS, LONG)), (vec![Part::Streams], false, 1));
        assert_eq!(findings(&of(TIMERS, LONG)), (vec![], true, 1));
        assert_eq!(findings(&of(REPORTS, Duration::from_secs(9))), (vec![], false, 0), "another leader may store");
        assert_eq!(findings(&of(EVENTS, LONG)), (vec![], false, 0), "the age of the last write tells");
    }

    #[test]
    fn findings_mention_a_leader_that_stored_nothing_and_are_well() {
        let ago = Duration::from_secs(130);
        let facts = BrokerFacts { moved: vec![(REPORTS, "nats-1".to_owned(), ago)], ..Default::default() };
        let found = facts.findings();
        assert!(found.down.is_empty() && !found.is_degraded && found.problems[0].contains("node nats-1"), "{found:?}");
    }

    #[test]
    fn findings_of_a_copy_that_lags_are_degraded_and_name_its_node_once() {
        let facts = BrokerFacts { lagging: vec![(REPORTS, "nats-1".to_owned())], ..Default::default() };
        let found = facts.findings();
        assert!(found.down.is_empty() && found.is_degraded && found.problems[0].contains("node nats-1"), "{found:?}");
        let facts = BrokerFacts { absent_nodes: vec!["nats-1".to_owned()], ..facts };
        assert_eq!(facts.findings().problems.len(), 1);
    }

    #[test]
    fn findings_of_a_role_that_stands_still_are_degraded_and_name_it() {
        let facts = BrokerFacts { stalled: vec![(Role::Intake, LONG)], ..Default::default() };
        let found = facts.findings();
        assert!(found.down.is_empty() && found.is_degraded && found.problems[0].contains("role intake"), "{found:?}");
    }

    #[test]
    fn findings_of_a_store_that_fills_up_are_degraded_and_name_the_node() {
        let of = |used| BrokerFacts {
            fullest_store: Some(NodeRoom { node: "nats-1".to_owned(), used, max: 1000 }),
            ..Default::default()
        };
        assert_eq!(of(849).findings(), Findings::default());
        let found = of(850).findings();
        assert!(found.down.is_empty() && found.is_degraded, "{found:?}");
        let problem =
            "the store of node nats-1 of the broker is 85 % full: all streams together may take 150 bytes more";
        assert_eq!(found.problems, [problem]);
    }

    #[test]
    fn findings_of_machines_that_stand_still_are_degraded() {
        let standstill = Standstill { machines: 2, longest: Some(LONG) };
        let facts = BrokerFacts { standstill: Some(standstill), ..Default::default() };
        let found = facts.findings();
        assert!(found.down.is_empty() && found.is_degraded && found.problems[0].starts_with("2 machines"), "{found:?}");
    }

    #[test]
    fn findings_mention_a_stream_that_was_made_again_and_are_well() {
        let facts = BrokerFacts { remade: vec![("REPORTS", Duration::from_secs(130))], ..Default::default() };
        let Findings { down, is_degraded, problems } = facts.findings();
        assert_eq!((down, is_degraded), (vec![], false));
        assert_eq!(problems, ["the broker's stream REPORTS never had a leader and was made again 2 min ago"]);
    }
}

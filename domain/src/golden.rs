//! The golden files in `golden/`: example bodies of each version of each event and of each message.
//!
//! They never change, because stored events must stay readable. `golden/SHA256SUMS` lists their checksums. Tests fold
//! random histories of the events, to notice a fold that has changed ([`events`], [`Dice`]).

#![expect(clippy::unwrap_used, reason = "test support fails by panicking")]

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::event::{Encoded, Event};
use crate::subject::AggregateId;

const CHECKSUMS: &str = "SHA256SUMS";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Reads a file relative to `golden/`.
pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = folder().join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all files in a folder (`""` for `golden/` itself), without subfolders and checksums.
pub fn names(under: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder().join(under)).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let mut names: Vec<String> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    names.retain(|name| name != CHECKSUMS);
    names.sort();
    names
}

#[derive(Deserialize)]
struct GoldenEvent {
    subject: String,
    #[serde(flatten)]
    event: Encoded,
}

/// The golden events of a file. One with a placement or a generation occurs with each of the numbers 1 to 3, because only
/// a matching number changes a state.
pub fn events(name: &str) -> Vec<(AggregateId, Event)> {
    let mut decoded = Vec::new();
    for GoldenEvent { subject, event } in read::<Vec<GoldenEvent>>(name) {
        let subject: AggregateId = subject.parse().unwrap();
        let mut bodies = vec![event.data.clone()];
        for member in ["placement", "generation"].into_iter().filter(|member| event.data.get(member).is_some()) {
            let with = |body: &Value, number: u32| {
                let mut body = body.clone();
                body[member] = number.into();
                body
            };
            bodies = bodies.iter().flat_map(|body| (1..=3).map(move |number| with(body, number))).collect();
        }
        for data in bodies {
            decoded.push((subject, Event::decode(&subject, Encoded { kind: event.kind.clone(), data }).unwrap()));
        }
    }
    decoded
}

/// A pseudo-random generator that no library update changes.
#[derive(Debug)]
pub struct Dice(u64);

impl Default for Dice {
    fn default() -> Self {
        Self(1)
    }
}

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    /// Seconds between two events of a history: most often one, sometimes three days.
    pub fn pause(&mut self) -> i64 {
        const DAY: i64 = 24 * 60 * 60;
        [1, 1, 1, 3 * DAY][self.roll(4)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sha2::{Digest, Sha256};

    use super::*;

    /// For a new file, append the line that this test prints. Existing lines never change.
    #[test]
    fn golden_files_are_listed_and_unchanged() {
        let listed: BTreeMap<String, String> = std::fs::read_to_string(folder().join(CHECKSUMS))
            .unwrap()
            .lines()
            .map(|line| line.split_once("  ").unwrap_or_else(|| panic!("{CHECKSUMS}: {line:?} is not `sum  name`")))
            .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
            .collect();
        let existing = names("").into_iter().chain(names("wire").into_iter().map(|name| format!("wire/{name}")));
        let sum = |name: &str| Sha256::digest(std::fs::read(folder().join(name)).unwrap());
        let found: BTreeMap<String, String> =
            existing.map(|name| (name.clone(), format!("{:x}", sum(&name)))).collect();
        for (name, sum) in &found {
            match listed.get(name) {
                None => panic!("{name} is not listed in {CHECKSUMS}; append:\n{sum}  {name}"),
                Some(shipped) => assert_eq!(shipped, sum, "{name} has changed: golden files never change; add another"),
            }
        }
        assert_eq!(listed.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "a golden file is missing");
    }
}

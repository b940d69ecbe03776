//! The containers of a simulated runtime, read from its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// The containers of one simulated backend since its agent last started.
#[derive(Debug, Default)]
pub struct Containers {
    /// The ids of existing containers.
    pub now: BTreeSet<String>,
    /// The ids of all containers that exist or existed.
    pub ever: BTreeSet<String>,
    /// The keys that may log in to each existing container.
    pub keys: BTreeMap<String, Vec<String>>,
    /// The most that existed at the same time.
    pub most: usize,
    /// The most memory that those of one time might use, in MiB.
    pub most_memory_mib: u64,
    memory_mib: BTreeMap<String, u64>,
}

impl Containers {
    /// Reads an agent's state directory, which is empty before the agent's first start.
    pub fn read_from(directory: &Path) -> Self {
        let mut containers = Self::default();
        let files = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")) {
            // An incomplete last line is ignored.
            let text = std::fs::read_to_string(file).unwrap_or_default();
            text.lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .for_each(|change| containers.apply(&change));
        }
        containers
    }

    fn apply(&mut self, change: &Value) {
        if let Some(id) = change["put"]["id"].as_str() {
            self.now.insert(id.to_owned());
            let memory = change["put"]["limits"]["memoryMib"].as_u64().unwrap_or_default();
            self.memory_mib.insert(id.to_owned(), memory);
            self.ever.insert(id.to_owned());
            let keys = change["put"]["keys"][1].as_array().into_iter().flatten();
            let keys = keys.filter_map(Value::as_str).map(str::to_owned).collect();
            self.keys.insert(id.to_owned(), keys);
        } else if let Some(id) = change["removed"].as_str() {
            self.now.remove(id);
            self.memory_mib.remove(id);
            self.keys.remove(id);
        }
        self.most_memory_mib = self.most_memory_mib.max(self.memory_mib.values().sum());
        self.most = self.most.max(self.now.len());
    }
}

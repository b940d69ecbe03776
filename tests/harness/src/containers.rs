//! What a simulated runtime holds and ever held, read from its file of changes.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// The containers of one simulated machine, since its agent was started last.
#[derive(Debug, Default)]
pub struct Containers {
    /// Those that exist, by their ids.
    pub now: BTreeSet<String>,
    /// Those that exist or existed.
    pub ever: BTreeSet<String>,
    /// The most that existed at once.
    pub most: usize,
}

impl Containers {
    /// Reads the directory where an agent keeps its state; nothing is there before its first start.
    pub fn kept_in(directory: &Path) -> Self {
        let mut containers = Self::default();
        let files = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")) {
            // A last line that is being written is not there yet.
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
            self.ever.insert(id.to_owned());
        } else if let Some(id) = change["removed"].as_str() {
            self.now.remove(id);
        }
        self.most = self.most.max(self.now.len());
    }
}

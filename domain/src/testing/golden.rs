//! The golden files in `golden/`: example bodies of each version of each event and of each message.
//!
//! They never change, because stored events must stay readable. `golden/SHA256SUMS` lists their checksums.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

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

mod tests {
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

//! The golden files: representative bodies of each version of each event, and of each message between server and
//! agents. Append-only: what was written once must be readable for ever, so no file here ever changes.
//!
//! In: `golden/`. Out: bodies by file name, and the promise that `golden/SHA256SUMS` (in the form of `sha256sum`)
//! names exactly the files that are there, each unchanged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

const SUMS: &str = "SHA256SUMS";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The file of this name, relative to `golden/`.
pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = folder().join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all files in one folder, `""` for `golden/` itself; without its folders and the list of sums.
pub fn names(under: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder().join(under)).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let mut names: Vec<String> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    names.retain(|name| name != SUMS);
    names.sort();
    names
}

mod tests {
    use super::*;

    /// Adding a file means adding the line that this prints. A line that is there never changes.
    #[test]
    fn every_golden_file_is_listed_and_none_has_changed() {
        let listed: BTreeMap<String, String> = std::fs::read_to_string(folder().join(SUMS))
            .unwrap()
            .lines()
            .map(|line| line.split_once("  ").unwrap_or_else(|| panic!("{SUMS}: {line:?} is not `sum  name`")))
            .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
            .collect();
        let there = names("").into_iter().chain(names("wire").into_iter().map(|name| format!("wire/{name}")));
        let sum = |name: &str| Sha256::digest(std::fs::read(folder().join(name)).unwrap());
        let found: BTreeMap<String, String> = there.map(|name| (name.clone(), format!("{:x}", sum(&name)))).collect();
        for (name, sum) in &found {
            match listed.get(name) {
                None => panic!("{name} is not listed in {SUMS}; append:\n{sum}  {name}"),
                Some(shipped) => assert_eq!(shipped, sum, "{name} has changed: a golden file never does, add another"),
            }
        }
        assert_eq!(listed.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "a golden file is gone");
    }
}

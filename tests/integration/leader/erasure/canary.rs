//! Searches bytes and files for unique texts in every encoding in which they might be stored.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The encoded forms to search for, each with a name.
pub struct Canaries(Vec<(String, String)>);

impl Canaries {
    /// The texts as plain text, escaped JSON, hex, and base64 at each byte offset.
    pub fn of(texts: &[&str]) -> Self {
        let mut forms = Vec::new();
        for text in texts {
            let mut add = |encoding: &str, form: String| forms.push((format!("{text} ({encoding})"), form));
            add("plain", (*text).to_owned());
            add("json", serde_json::to_string(text).unwrap().trim_matches('"').to_owned());
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            add("HEX", hex.to_uppercase());
            add("hex", hex);
            for before in 0..3 {
                let padded = [&vec![0; before], text.as_bytes()].concat();
                let form = STANDARD_NO_PAD.encode(padded);
                // The first characters encode the bytes before the text; the last one may encode bytes after it.
                let form = form[before * 4 / 3 + usize::from(before > 0)..form.len() - 1].to_owned();
                add("url-safe base64", form.replace('+', "-").replace('/', "_"));
                add("base64", form);
            }
        }
        Self(forms)
    }

    /// The forms that the bytes contain.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let text = String::from_utf8_lossy(bytes);
        self.0.iter().filter(|(_, form)| text.contains(form.as_str())).map(|(name, _)| name.as_str()).collect()
    }

    /// The files below a directory that contain a form, with those forms.
    pub fn found_below(&self, directory: &Path) -> Vec<(PathBuf, Vec<&str>)> {
        files(directory)
            .into_iter()
            .map(|path| (path.clone(), self.found_in(&std::fs::read(path).unwrap_or_default())))
            .filter(|(_, found)| !found.is_empty())
            .collect()
    }
}

/// Whether a file below a directory contains these bytes.
pub fn contains(directory: &Path, bytes: &[u8]) -> bool {
    files(directory).iter().any(|path| {
        let content = std::fs::read(path).unwrap_or_default();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn canaries_every_encoding_is_found() {
    let canaries = Canaries::of(&["canary@example.org"]);
    for before in ["", "x", "xy", "xyz"] {
        for after in ["", "x", "xy"] {
            let text = format!("{before}canary@example.org{after}");
            assert!(!canaries.found_in(text.as_bytes()).is_empty(), "{text}");
            for encoded in [
                STANDARD_NO_PAD.encode(&text),
                text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                text.bytes().map(|byte| format!("{byte:02X}")).collect(),
            ] {
                assert!(!canaries.found_in(encoded.as_bytes()).is_empty(), "{text} as {encoded}");
            }
        }
    }
    assert!(canaries.found_in(b"canary@example.com").is_empty());
}

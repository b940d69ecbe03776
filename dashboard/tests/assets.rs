//! The committed assets: those of others are the ones of their packages, and what a first visit loads is small.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use dockhost_dashboard::assets;
use sha2::{Digest, Sha256};

fn find(name: &str) -> assets::Asset {
    let path = assets::path(name);
    let (hash, name) = path.strip_prefix(assets::PATH).unwrap().split_once('/').unwrap();
    assets::find(hash, name).unwrap()
}

#[test]
fn assets_of_others_have_the_checksums_of_their_packages() {
    let sums = std::fs::read_to_string("SHA256SUMS").unwrap();
    assert!(!sums.is_empty());
    for line in sums.lines() {
        let (sum, name) = line.split_once("  assets/").unwrap();
        assert_eq!(const_hex::encode(Sha256::digest(find(name).content)), sum, "{name}");
    }
}

/// The compressed bytes of the files that a template names, without those that it extends.
fn size_of(template: &str) -> usize {
    let text = std::fs::read_to_string(template).unwrap();
    let names = text.split("frame.asset(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let sizes = names.map(|name| {
        let asset = find(name);
        asset.gzip.map_or(asset.content.len(), <[u8]>::len)
    });
    sizes.sum()
}

#[test]
fn assets_of_a_first_visit_have_at_most_100_kb() {
    let sum = size_of("templates/base.html");
    assert!((50_000..92_000).contains(&sum), "{sum} bytes, and the page itself needs some");
}

/// They are cached from then on.
#[test]
fn assets_of_the_overview_alone_have_at_most_40_kb() {
    let sum = size_of("templates/admin/overview.html");
    assert!((10_000..40_000).contains(&sum), "{sum} bytes");
}

/// The policy of the pages forbids scripts and styles within them.
#[test]
fn templates_have_no_inline_script_or_style() {
    let mut folders = vec![std::path::PathBuf::from("templates")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            seen += 1;
            for forbidden in ["style=", "<style", "onclick", "onload", "hx-on", "js:", "http://", "https://"] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", entry.path().display());
            }
            let scripts = text.matches("<script").count();
            assert_eq!(scripts, text.matches("<script src=").count(), "{}", entry.path().display());
        }
    }
    assert!(seen > 10);
}

//! The check finds every change of the files and names the first wrong place.

use std::fs;
use std::path::Path;

use dockhost::backup::check;
use dockhost::backup::line;
use dockhost::backup::manifest::{MANIFEST_FILE, Manifest};
use dockhost::event_log::raw::RawEvent;

use super::{export_to, log_of};

const SECOND: &str = "events-000000000101.jsonl.zst";

fn check_result(directory: &Path) -> String {
    let checked = check::finished(directory).and_then(|manifest| check::all(directory, &manifest, true, |_| true));
    checked.map_or_else(|error| error.to_string(), |()| "unchanged".to_owned())
}

/// The result of the check with a changed file; restores the file.
fn check_with(directory: &Path, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let before = fs::read(directory.join(name)).unwrap();
    fs::write(directory.join(name), change(before.clone())).unwrap();
    let result = check_result(directory);
    fs::write(directory.join(name), before).unwrap();
    result
}

/// The same with changed lines of a compressed file.
fn check_with_lines(directory: &Path, name: &str, change: impl FnOnce(&mut Vec<String>)) -> String {
    check_with(directory, name, |file| {
        let text = String::from_utf8(zstd::decode_all(file.as_slice()).unwrap()).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        let text = lines.into_iter().map(|line| line + "\n").collect::<String>();
        zstd::encode_all(text.as_bytes(), 3).unwrap()
    })
}

/// Rewrites the lines from `from` on with a valid chain, as a forger can.
fn rechain(lines: &mut [String], manifest: &Manifest, from: usize, change: impl Fn(&mut RawEvent)) {
    let mut chain = manifest.chain_before(1);
    for (index, text) in lines.iter_mut().enumerate() {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut bytes = Vec::new();
        let named = value["chain"].as_str().unwrap().parse().unwrap();
        if index < from {
            chain = named;
            continue;
        }
        let mut raw = RawEvent {
            sequence: value["sequence"].as_u64().unwrap(),
            subject: value["subject"].as_str().unwrap().to_owned(),
            nanos: 0,
            headers: async_nats::HeaderMap::new(),
            body: value["body"].as_str().unwrap().to_owned().into(),
        };
        change(&mut raw);
        chain = line::write(&raw, chain, &mut bytes).unwrap();
        *text = String::from_utf8(bytes).unwrap();
    }
}

#[tokio::test]
async fn check_names_the_first_changed_line_or_file() {
    let live = log_of(250).await;
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (manifest, _) = export_to(&live, at, 100).await;
    assert_eq!(
        manifest.segments.iter().map(|s| (s.first, s.last)).collect::<Vec<_>>(),
        [(1, 100), (101, 200), (201, 250)]
    );
    assert_eq!(check_result(at), "unchanged");
    let keys = manifest.keys.clone().unwrap().name;

    // Bytes of the compressed files.
    for name in manifest.segments.iter().map(|segment| segment.name.as_str()).chain([keys.as_str()]) {
        let length = fs::read(at.join(name)).unwrap().len();
        for place in (0..length).step_by((length / 40).max(1)) {
            let result = check_with(at, name, |mut file| {
                file[place] ^= 0x10;
                file
            });
            assert!(result.starts_with(name), "byte {place} of {name}: {result}");
        }
        for length in [0, 1, length / 2, length - 1] {
            let result = check_with(at, name, |file| file[..length].to_vec());
            assert!(result.starts_with(name), "{name} cut to {length}: {result}");
        }
        let longer = check_with(at, name, |file| [file, b"more".to_vec()].concat());
        assert!(longer.starts_with(name), "{longer}");
        fs::rename(at.join(name), at.join("moved")).unwrap();
        assert_eq!(check_result(at), format!("{name}: is missing"));
        fs::rename(at.join("moved"), at.join(name)).unwrap();
    }

    // Lines, compressed again.
    let line = |n: u32, why: &str| format!("{SECOND}, line {n}: {why}");
    let broken = "the chain is broken: this line does not follow the one before";
    assert_eq!(check_with_lines(at, SECOND, |lines| drop(lines.remove(4))), line(5, broken));
    assert_eq!(check_with_lines(at, SECOND, |lines| lines.swap(4, 5)), line(5, broken));
    assert_eq!(check_with_lines(at, SECOND, |lines| lines.insert(6, lines[6].clone())), line(8, broken));
    let changed = check_with_lines(at, SECOND, |lines| lines[6] = lines[6].replace("\"body\":\"{", "\"body\":\" {"));
    assert_eq!(changed, line(7, broken));
    assert_eq!(check_with_lines(at, SECOND, |lines| drop(lines.pop())), line(100, "is missing; event 200 is expected"));
    assert_eq!(check_with_lines(at, SECOND, |lines| lines[99].truncate(20)), line(100, "not a line of an export"));

    // A forged chain ends with another value than the manifest's.
    let forged = check_with_lines(at, SECOND, |lines| rechain(lines, &manifest, 50, |raw| raw.body = "{}".into()));
    assert_eq!(forged, line(101, "the chain does not end with the manifest's value"));
    let skipped = check_with_lines(at, SECOND, |lines| rechain(lines, &manifest, 50, |raw| raw.sequence += 1));
    assert_eq!(skipped, line(51, "is event 152; 151 is expected"));

    // The manifest.
    let text = |change: fn(&str) -> String| {
        check_with(at, MANIFEST_FILE, |file| change(std::str::from_utf8(&file).unwrap()).into_bytes())
    };
    assert!(text(|text| text.replacen("\"last\": 250", "\"last\": 249", 1)).starts_with(MANIFEST_FILE));
    assert!(text(|text| text.replace("export.v1", "export.v2")).contains("the format is \"dockhost.export.v2\""));
    assert!(
        text(|text| text.replace("\"incarnation\": \"", "\"incarnation\": \"0"))
            .contains("line 1: the chain is broken")
    );
    assert_eq!(check_result(at), "unchanged");
}

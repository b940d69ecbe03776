//! Whatever is changed in the files is found, and the first bad place is named.

use std::fs;
use std::path::Path;

use dockhost::backup::check;
use dockhost::backup::line;
use dockhost::backup::manifest::{MANIFEST_FILE, Manifest};
use dockhost::event_log::raw::RawEvent;

use super::{export_to, log_of};

const SECOND: &str = "events-000000000101.jsonl.zst";

fn says(directory: &Path) -> String {
    let checked = check::finished(directory).and_then(|manifest| check::all(directory, &manifest, true, |_| true));
    checked.map_or_else(|error| error.to_string(), |()| "as it was".to_owned())
}

/// What the check says after a file was changed so; the file is put back.
fn after(directory: &Path, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let before = fs::read(directory.join(name)).unwrap();
    fs::write(directory.join(name), change(before.clone())).unwrap();
    let said = says(directory);
    fs::write(directory.join(name), before).unwrap();
    said
}

/// The same for the lines inside of a compressed file.
fn after_lines(directory: &Path, name: &str, change: impl FnOnce(&mut Vec<String>)) -> String {
    after(directory, name, |file| {
        let text = String::from_utf8(zstd::decode_all(file.as_slice()).unwrap()).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        let text = lines.into_iter().map(|line| line + "\n").collect::<String>();
        zstd::encode_all(text.as_bytes(), 3).unwrap()
    })
}

/// Writes the lines from `from` on anew, as a forger would who knows how the chain is made.
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
async fn every_change_is_found_and_named() {
    let live = log_of(250).await;
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (manifest, _) = export_to(&live, at, 100).await;
    assert_eq!(
        manifest.segments.iter().map(|s| (s.first, s.last)).collect::<Vec<_>>(),
        [(1, 100), (101, 200), (201, 250)]
    );
    assert_eq!(says(at), "as it was");
    let keys = manifest.keys.clone().unwrap().name;

    // Bytes of the files as they lie on the disk.
    for name in manifest.segments.iter().map(|segment| segment.name.as_str()).chain([keys.as_str()]) {
        let length = fs::read(at.join(name)).unwrap().len();
        for place in (0..length).step_by((length / 40).max(1)) {
            let said = after(at, name, |mut file| {
                file[place] ^= 0x10;
                file
            });
            assert!(said.starts_with(name), "byte {place} of {name}: {said}");
        }
        for kept in [0, 1, length / 2, length - 1] {
            let said = after(at, name, |file| file[..kept].to_vec());
            assert!(said.starts_with(name), "{name} cut to {kept}: {said}");
        }
        let longer = after(at, name, |file| [file, b"more".to_vec()].concat());
        assert!(longer.starts_with(name), "{longer}");
        fs::rename(at.join(name), at.join("away")).unwrap();
        assert_eq!(says(at), format!("{name}: is missing"));
        fs::rename(at.join("away"), at.join(name)).unwrap();
    }

    // Lines, compressed again by somebody who means it.
    let line = |n: u32, why: &str| format!("{SECOND}, line {n}: {why}");
    let broken = "the chain is broken: this line does not follow the one before";
    assert_eq!(after_lines(at, SECOND, |lines| drop(lines.remove(4))), line(5, broken));
    assert_eq!(after_lines(at, SECOND, |lines| lines.swap(4, 5)), line(5, broken));
    assert_eq!(after_lines(at, SECOND, |lines| lines.insert(6, lines[6].clone())), line(8, broken));
    let changed = after_lines(at, SECOND, |lines| lines[6] = lines[6].replace("\"body\":\"{", "\"body\":\" {"));
    assert_eq!(changed, line(7, broken));
    assert_eq!(after_lines(at, SECOND, |lines| drop(lines.pop())), line(100, "is missing; event 200 is expected"));
    assert_eq!(after_lines(at, SECOND, |lines| lines[99].truncate(20)), line(100, "not a line of an export"));

    // A forger who knows the chain still ends at another value than the manifest's.
    let forged = after_lines(at, SECOND, |lines| rechain(lines, &manifest, 50, |raw| raw.body = "{}".into()));
    assert_eq!(forged, line(101, "the chain does not end with the manifest's value"));
    let skipped = after_lines(at, SECOND, |lines| rechain(lines, &manifest, 50, |raw| raw.sequence += 1));
    assert_eq!(skipped, line(51, "is event 152; 151 is expected"));

    // The manifest itself.
    let text = |change: fn(&str) -> String| {
        after(at, MANIFEST_FILE, |file| change(std::str::from_utf8(&file).unwrap()).into_bytes())
    };
    assert!(text(|text| text.replacen("\"last\": 250", "\"last\": 249", 1)).starts_with(MANIFEST_FILE));
    assert!(text(|text| text.replace("export.v1", "export.v2")).contains("the format is \"dockhost.export.v2\""));
    assert!(
        text(|text| text.replace("\"incarnation\": \"", "\"incarnation\": \"0"))
            .contains("line 1: the chain is broken")
    );
    assert_eq!(says(at), "as it was");
}

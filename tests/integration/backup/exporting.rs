//! Exports: complete, incremental, and resumed after an interruption.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dockhost::backup::check;
use dockhost::backup::export::export;
use dockhost::backup::manifest::{MANIFEST_FILE, Manifest, UNFINISHED_MANIFEST_FILE};
use dockhost::event_log::raw::RawEvent;

use super::{append, export_to, js, log_of, options, stored};
use crate::event_log::world::SECRET;
use crate::harness::wait::DEADLINE;
use crate::harness::wait_until;

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

fn exported(directory: &Path) -> Vec<RawEvent> {
    let mut events = Vec::new();
    let manifest = check::finished(directory).unwrap();
    check::events(directory, &manifest, 0, |raw| {
        events.push(raw);
        true
    })
    .unwrap();
    events
}

#[tokio::test]
async fn export_copies_every_stored_message_and_later_runs_add_new_ones() {
    let live = log_of(120).await;
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (first, new) = export_to(&live, at, 50).await;
    assert_eq!((first.last, new, first.segments.len()), (120, 120, 3));
    assert_eq!(exported(at), stored(&js(&live)).await);
    let before = files(at);
    let plain: Vec<u8> = before
        .iter()
        .filter(|(name, _)| name.ends_with(".zst"))
        .flat_map(|(_, file)| zstd::decode_all(file.as_slice()).unwrap())
        .collect();
    let plain = String::from_utf8(plain).unwrap();
    assert!(plain.contains("nonsense") && plain.contains("$sealed") && !plain.contains(SECRET), "{plain}");

    let (again, new) = export_to(&live, at, 50).await;
    assert_eq!((again.chain, again.segments.clone(), new), (first.chain, first.segments.clone(), 0));

    append(&live, 7).await;
    let (grown, new) = export_to(&live, at, 50).await;
    assert_eq!((grown.last, new, grown.segments.len()), (127, 7, 4));
    assert_eq!(exported(at), stored(&js(&live)).await);
    let after = files(at);
    for segment in &first.segments {
        assert_eq!(before[&segment.name], after[&segment.name], "{} was changed", segment.name);
    }
    assert_eq!(after.keys().filter(|name| name.starts_with("keys-")).count(), 1, "{:?}", after.keys());

    // An export without keys removes the file of keys.
    let without = dockhost::backup::export::ExportOptions { with_keys: false, ..options(at, 50) };
    let (without, _) = export(&js(&live), without, Box::new(|_, _| {})).await.unwrap();
    assert_eq!(without.keys, None);
    assert!(!files(at).keys().any(|name| name.starts_with("keys-")));
}

#[tokio::test]
async fn export_interrupted_is_unfinished_and_resumes() {
    let live = log_of(400).await;
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (reference, _) = export_to(&live, whole.path(), 100).await;

    // It is aborted while it blocks after two files.
    let (reached, mut waiting) = tokio::sync::mpsc::channel(1);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let on_progress = Box::new(move |done, _| {
        if done == 200 {
            let _ = reached.blocking_send(());
            let _ = released.recv();
        }
    });
    let (context, cut_options) = (js(&live), options(cut.path(), 100));
    let task = tokio::spawn(async move { export(&context, cut_options, on_progress).await });
    waiting.recv().await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(!cut.path().join(MANIFEST_FILE).exists());
    assert_eq!(Manifest::read(cut.path(), UNFINISHED_MANIFEST_FILE).unwrap().unwrap().last, 200);
    let refused = check::finished(cut.path()).unwrap_err().to_string();
    assert!(refused.contains("the export is not finished"), "{refused}");
    let busy = export(&js(&live), options(cut.path(), 100), Box::new(|_, _| {})).await.unwrap_err();
    assert!(busy.to_string().contains("another export is writing"), "{busy}");

    drop(release);
    // Until its thread ends, it has a file open, perhaps the one that is written here.
    while waiting.recv().await.is_some() {}
    fs::write(cut.path().join("events-000000000201.jsonl.zst.tmp"), "half a file").unwrap();
    let (finished, _) = wait_until("the directory is free", DEADLINE, async || {
        export(&js(&live), options(cut.path(), 100), Box::new(|_, _| {})).await.map_err(|error| format!("{error:#}"))
    })
    .await;
    assert_eq!((finished.chain, finished.segments), (reference.chain, reference.segments));
    check::all(cut.path(), &check::finished(cut.path()).unwrap(), true, |_| true).unwrap();
    assert!(files(cut.path()).keys().all(|name| !name.ends_with(".tmp") && name != UNFINISHED_MANIFEST_FILE));
}

#[tokio::test]
async fn export_refuses_a_directory_with_other_files_or_another_log() {
    let (live, other) = tokio::join!(log_of(20), log_of(20));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("letter.txt"), "dear ada").unwrap();
    let refused = export(&js(&live), options(directory.path(), 100), Box::new(|_, _| {})).await.unwrap_err();
    assert!(refused.to_string().contains("neither empty nor an export"), "{refused}");
    assert_eq!(files(directory.path()).len(), 1);

    let mine = tempfile::tempdir().unwrap();
    export_to(&live, mine.path(), 100).await;
    let before = files(mine.path());
    let refused = export(&js(&other), options(mine.path(), 100), Box::new(|_, _| {})).await.unwrap_err();
    assert!(refused.to_string().contains("is an export of the log"), "{refused}");
    assert_eq!(files(mine.path()), before);
}

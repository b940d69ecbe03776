//! Checks `FOLD_VERSION` of each read model, and that programs with adjacent versions can read each other's documents.
//!
//! A digest covers the stored forms of all documents in 1,000 fixed pseudo-random histories of the golden events
//! (`domain/golden/`). If the fold or the stored form changes, so does the digest, and the model needs another version.
//! `golden/<model>.v<version>.json` holds some of these documents. During a rolling upgrade the older replicas read the
//! newer documents, and after a rollback the newer ones are read by the older program; see `docs/adr/0011`.

mod compatible;
mod versions;

use std::path::{Path, PathBuf};

use dockhost_domain::aggregate::Meta;
use dockhost_domain::envelope::{Actor, Envelope, Origin, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::golden::{self, Dice};
use dockhost_domain::ids::EventId;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;
use serde_json::Value;

use crate::digest::{DigestBuilder, canonical};
use crate::model::{Folded, ReadModel};
use crate::registry::ModelVisitor;
use crate::testing::events::uuid;
use versions::VERSIONS;

const HISTORIES: u64 = 1000;
const EVENTS_PER_HISTORY: u64 = 12;
/// How many of the last documents of the histories are in a golden file, besides those that add a form.
const GOLDEN_DOCUMENTS: usize = 12;

/// The golden events of one type.
fn golden_events(kind: &str) -> Vec<(AggregateId, Event)> {
    golden::events(&format!("dockhost.{kind}.json"))
}

/// The digest over all documents on the way, and a sample of the last documents that contains each of their forms.
fn fold_histories<M: ReadModel>(kinds: &[&str]) -> (String, Vec<Value>) {
    let events: Vec<_> = kinds.iter().map(|kind| golden_events(kind)).collect();
    let (mut digest, mut dice) = (DigestBuilder::default(), Dice::default());
    let (mut sample, mut others) = (Vec::new(), Vec::new());
    for _ in 0..HISTORIES {
        let (mut folded, mut seconds) = (Folded::<M>::default(), 0);
        for sequence in 1..=EVENTS_PER_HISTORY {
            let of_kind = &events[dice.roll(events.len())];
            let (aggregate, event) = of_kind[dice.roll(of_kind.len())].clone();
            seconds += dice.pause();
            let meta = Meta { id: EventId::from_uuid(uuid(sequence)), time: Timestamp::from_millis(seconds * 1000) };
            let origin = Origin::new(Actor::System, "golden");
            folded.fold(&RecordedEvent { sequence, envelope: Envelope { aggregate, meta, origin, event } });
            for document in folded.documents() {
                digest.add(&canonical(serde_json::to_value(document).unwrap()));
            }
        }
        let mut documents = folded.documents().map(|document| serde_json::to_value(document).unwrap());
        if sample.len() < GOLDEN_DOCUMENTS {
            sample.extend(documents.next());
        }
        others.extend(documents);
    }
    (digest.finish().to_string(), compatible::add_missing_forms(sample, others))
}

fn golden_path(model: &str, version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{model}.v{version}.json"))
}

fn golden_documents(model: &str, version: u32) -> Option<Vec<Value>> {
    let text = std::fs::read(golden_path(model, version)).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

/// Runs a check for each model.
struct ForEach(fn(&CheckedModel));

/// A model, with its generic functions as pointers.
struct CheckedModel {
    name: &'static str,
    kind: &'static str,
    version: u32,
    fold_histories: fn(&[&str]) -> (String, Vec<Value>),
    decode: fn(Value) -> Result<(), serde_json::Error>,
}

impl ModelVisitor for ForEach {
    type Output = ();

    fn visit<M: ReadModel>(&mut self) {
        (self.0)(&CheckedModel {
            name: M::NAME,
            kind: M::KIND,
            version: M::FOLD_VERSION,
            fold_histories: fold_histories::<M>,
            decode: |document| serde_json::from_value::<M::Document>(document).map(drop),
        });
    }
}

fn for_each_model(check: fn(&CheckedModel)) {
    crate::visit_all(&mut ForEach(check));
}

#[test]
fn read_model_fold_and_stored_form_match_the_fold_version() {
    for_each_model(|model| {
        let (name, version) = (model.name, model.version);
        let entries: Vec<_> = VERSIONS.iter().filter(|one| (one.model, one.version) == (name, version)).collect();
        assert!(!entries.is_empty(), "{name}: version {version} is not in VERSIONS; add an entry");
        for entry in &entries {
            let (found, documents) = (model.fold_histories)(entry.events);
            assert!(
                found == entry.digest,
                "{name}: version {version} of the fold computed other documents from the golden events. Raise \
                 `FOLD_VERSION` to {next}, so that replicas build the model again, and add to `VERSIONS` an entry with \
                 version {next} and the digest\n{found}",
                next = version + 1,
            );
            let path = golden_path(name, version);
            if !path.exists() {
                std::fs::write(&path, serde_json::to_string_pretty(&documents).unwrap() + "\n").unwrap();
                panic!("{} did not exist and was written: check it and commit it", path.display());
            }
        }
        let golden = golden_documents(name, version).unwrap();
        assert_eq!(golden, (model.fold_histories)(entries[0].events).1, "golden/{name}.v{version}.json was changed");
    });
}

#[test]
fn read_model_versions_list_all_golden_events_of_the_kind() {
    for_each_model(|model| {
        let files = golden::names("").into_iter();
        let names = files.filter_map(|name| Some(name.strip_prefix("dockhost.")?.strip_suffix(".json")?.to_owned()));
        let events: Vec<String> = names
            .filter(|name| golden_events(name).iter().all(|(aggregate, _)| aggregate.kind() == model.kind))
            .collect();
        let entries = VERSIONS.iter().filter(|one| (one.model, one.version) == (model.name, model.version));
        let longest = entries.max_by_key(|entry| entry.events.len()).map_or(&[][..], |entry| entry.events);
        assert!(
            events == longest,
            "{}: add an entry with version {}, all of {events:?} and the digest\n{}",
            model.name,
            model.version,
            (model.fold_histories)(&events.iter().map(String::as_str).collect::<Vec<_>>()).0,
        );
    });
}

#[test]
fn read_model_documents_of_the_version_before_can_be_decoded() {
    for_each_model(|model| {
        for version in [model.version - 1, model.version] {
            for document in golden_documents(model.name, version).unwrap_or_default() {
                let decoded = (model.decode)(document.clone());
                assert!(decoded.is_ok(), "{} v{version}: {decoded:?}\n{document:#}", model.name);
            }
        }
    });
}

#[test]
fn read_model_documents_can_be_decoded_by_the_version_before() {
    for_each_model(|model| {
        let Some(older) = golden_documents(model.name, model.version - 1) else { return };
        let newer = golden_documents(model.name, model.version).unwrap();
        let problems = compatible::problems(&older, &newer);
        assert!(
            problems.is_empty(),
            "{}: a program with version {} may not be able to decode documents of version {}:\n{}",
            model.name,
            model.version - 1,
            model.version,
            problems.join("\n"),
        );
    });
}

#[test]
fn read_model_documents_ignore_unknown_members() {
    for_each_model(|model| {
        for document in golden_documents(model.name, model.version).unwrap() {
            let mut newer = document;
            add_member_to_each_object(&mut newer);
            let decoded = (model.decode)(newer);
            assert!(decoded.is_ok(), "{}: {decoded:?}", model.name);
        }
    });
}

/// Adds a member to each object, except to personal values, whose form is fixed, and to maps.
fn add_member_to_each_object(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let others = members.iter_mut().filter(|(name, _)| !compatible::is_map(name));
            others.for_each(|(_, value)| add_member_to_each_object(value));
            let is_map = members.is_empty() || members.keys().all(|key| key.parse::<uuid::Uuid>().is_ok());
            if !members.contains_key("$personal") && !is_map {
                members.insert("addedByALaterVersion".to_owned(), true.into());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(add_member_to_each_object),
        _ => {}
    }
}

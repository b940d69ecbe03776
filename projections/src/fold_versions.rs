//! Checks `FOLD_VERSION` of each read model, and that programs with adjacent versions can read each other's documents.
//!
//! A digest covers the stored forms of all documents in 1,000 fixed pseudo-random histories of the golden events
//! (`domain/golden/`). If the fold or the stored form changes, so does the digest, and the model needs another version.
//! `golden/<model>.v<version>.json` holds some of these documents. During a rolling upgrade the older replicas read the
//! newer documents, and after a rollback the newer ones are read by the older program; see `docs/adr/0011`.

mod compatible;

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

/// A version of a fold: the golden events that it was checked with, and the digest.
struct Version {
    model: &'static str,
    version: u32,
    events: &'static [&'static str],
    digest: &'static str,
}

/// Existing entries never change. A new version adds an entry. A new type of event adds one with the same version and the
/// longer list: the old entry shows that the fold of the older events is unchanged.
const VERSIONS: &[Version] = &[
    Version {
        model: "users",
        version: 1,
        events: &["account.created.v1", "account.erased.v1"],
        digest: "8e14f18b0e8d3294ceabfc82c8be7f1b66cb964727e694d0542024f5a2d173b2",
    },
    Version {
        model: "users",
        version: 1,
        events: &["account.created.v1", "account.erased.v1", "account.role-changed.v1"],
        digest: "16595c48d2cd0ec7ea37acbbc184e4523177dc7c3d36d024c154d94a1a88061d",
    },
    Version {
        model: "users",
        version: 1,
        events: &[
            "account.created.v1",
            "account.erased.v1",
            "account.password-changed.v1",
            "account.profile-changed.v1",
            "account.role-changed.v1",
        ],
        digest: "340bcd85368f7e82af87d3a1902efa0042d4142507ce258432661e531f3aecc2",
    },
    Version {
        model: "users",
        version: 2,
        events: &[
            "account.created.v1",
            "account.disabled.v1",
            "account.enabled.v1",
            "account.erased.v1",
            "account.password-changed.v1",
            "account.profile-changed.v1",
            "account.role-changed.v1",
        ],
        digest: "c53d395d011da49671ac63fd1b54677cf61792cb54a89646d7ab32bf6b09a5ee",
    },
    Version {
        model: "users",
        version: 2,
        events: &[
            "account.created.v1",
            "account.disabled.v1",
            "account.enabled.v1",
            "account.erased.v1",
            "account.password-changed.v1",
            "account.password-reset-issued.v1",
            "account.profile-changed.v1",
            "account.role-changed.v1",
        ],
        digest: "9b108c0c20c4c2dddf4f4c42cf1dbf52812292ac7cae718fb057af5d565ac8bb",
    },
    Version {
        model: "backends",
        version: 1,
        events: &["backend.connected.v1", "backend.enrolled.v1", "backend.lost.v1"],
        digest: "4041ca6f6f37e0f30602b29575d4c2489daf07a9001435aa8b3e759d6fbd6f48",
    },
    Version {
        model: "backends",
        version: 2,
        events: &[
            "backend.approved.v1",
            "backend.capacity-set.v1",
            "backend.connected.v1",
            "backend.cordoned.v1",
            "backend.enrolled.v1",
            "backend.enrolled.v2",
            "backend.lost.v1",
            "backend.uncordoned.v1",
        ],
        digest: "880970b7f6c258447084b88e7bffc9f8efa522bda02cb8f47a26f612caa296e3",
    },
    Version {
        model: "backends",
        version: 3,
        events: &[
            "backend.approved.v1",
            "backend.capacity-set.v1",
            "backend.connected.v1",
            "backend.cordoned.v1",
            "backend.enrolled.v1",
            "backend.enrolled.v2",
            "backend.key-issued.v1",
            "backend.key-revoked.v1",
            "backend.lost.v1",
            "backend.removed.v1",
            "backend.uncordoned.v1",
        ],
        digest: "734f86a71067e079d23d997b12e8eafea5797c5a2643a482933affdd0ef8a62c",
    },
    Version {
        model: "instances",
        version: 2,
        events: &[
            "instance.delete-requested.v1",
            "instance.deleted.v1",
            "instance.failed.v1",
            "instance.observed.v1",
            "instance.placed.v1",
            "instance.released.v1",
            "instance.requested.v1",
            "instance.resume-requested.v1",
            "instance.stop-requested.v1",
            "tenancy.closed.v1",
        ],
        digest: "a14113836e915898b5660febe9a6f512ef22faa4f3ae1bb5e142feee26290918",
    },
    Version {
        model: "instances",
        version: 3,
        events: &[
            "instance.delete-requested.v1",
            "instance.deleted.v1",
            "instance.failed.v1",
            "instance.failed.v2",
            "instance.observed.v1",
            "instance.placed.v1",
            "instance.placed.v2",
            "instance.released.v1",
            "instance.requested.v1",
            "instance.resume-requested.v1",
            "instance.stop-requested.v1",
            "tenancy.closed.v1",
        ],
        digest: "0f509a04218e38b2ee67fffd4f6edecc4978b44b56a426ebce0d92784c1bb4dc",
    },
    Version {
        model: "sessions",
        version: 1,
        events: &["session.closed.v1", "session.revoked.v1", "session.started.v1"],
        digest: "ec621cce151952b03bb6c79aaa9407bbcc523af3bb1f7344fe39eb701e500f8c",
    },
    Version {
        model: "sessions",
        version: 1,
        events: &["session.closed.v1", "session.ended.v1", "session.revoked.v1", "session.started.v1"],
        digest: "1efb5947cb8a43e4ca5c222be9beb9fd337134f7e16140202c6bb9596f4bee9e",
    },
    Version {
        model: "sessions",
        version: 1,
        events: &[
            "session.closed.v1",
            "session.ended.v1",
            "session.resumed.v1",
            "session.revoked.v1",
            "session.started.v1",
            "session.suspended.v1",
        ],
        digest: "168332fb4c53f3232ac58d123d71417b93d5680125709a1d9e49049ff2a22751",
    },
    Version {
        model: "sessions",
        version: 1,
        events: &[
            "session.closed.v1",
            "session.ended.v1",
            "session.resumed.v1",
            "session.revoked.v1",
            "session.started.v1-token",
            "session.started.v1",
            "session.suspended.v1",
        ],
        digest: "2303b59e7ec078265c062b8ad850d36251ae54419c403b6a84886b98b4326c99",
    },
    Version {
        model: "instances",
        version: 3,
        events: &[
            "instance.delete-requested.v1",
            "instance.deleted.v1",
            "instance.failed.v1",
            "instance.failed.v2-removed",
            "instance.failed.v2",
            "instance.observed.v1",
            "instance.placed.v1",
            "instance.placed.v2-removed",
            "instance.placed.v2",
            "instance.released.v1",
            "instance.requested.v1",
            "instance.resume-requested.v1",
            "instance.stop-requested.v1",
            "tenancy.closed.v1",
        ],
        digest: "604efce19a3d1dfa0db5471b896b69d505a86b30e3980975a3fb02bff4f3e075",
    },
    Version {
        model: "instances",
        version: 3,
        events: &[
            "instance.delete-requested.v1",
            "instance.deleted.v1",
            "instance.failed.v1",
            "instance.failed.v2-removed",
            "instance.failed.v2",
            "instance.observed.v1",
            "instance.placed.v1",
            "instance.placed.v2-removed",
            "instance.placed.v2",
            "instance.released.v1",
            "instance.requested.v1",
            "instance.resume-requested.v1",
            "instance.stop-requested.v1",
            "tenancy.closed.v1",
            "tenancy.resumed.v1",
            "tenancy.suspended.v1",
        ],
        digest: "d4b2f87749a57ff57ae2a8635cb34cd416d5526d27af38778267c9e861b3ffdf",
    },
    Version {
        model: "backends",
        version: 3,
        events: &[
            "backend.approved.v1",
            "backend.capacity-set.v1",
            "backend.connected.v1",
            "backend.cordoned.v1",
            "backend.enrolled.v1",
            "backend.enrolled.v2-token",
            "backend.enrolled.v2",
            "backend.key-issued.v1",
            "backend.key-revoked.v1",
            "backend.lost.v1",
            "backend.removed.v1",
            "backend.uncordoned.v1",
        ],
        digest: "8088bea3820e7f8df8907aac1444f14d9b42a2a4854c8f3e8349feb37f8e53b2",
    },
    Version {
        model: "backends",
        version: 3,
        events: &[
            "backend.approved.v1",
            "backend.capacity-set.v1",
            "backend.connected.v1",
            "backend.cordoned.v1",
            "backend.drain-cancelled.v1",
            "backend.drain-ended.v1",
            "backend.drain-started.v1",
            "backend.enrolled.v1",
            "backend.enrolled.v2-token",
            "backend.enrolled.v2",
            "backend.key-issued.v1",
            "backend.key-revoked.v1",
            "backend.lost.v1",
            "backend.removed.v1",
            "backend.uncordoned.v1",
        ],
        digest: "5e019b621886c452267e41c22edffcd38cd1f30319d70e189affe65ff4cad03a",
    },
    Version {
        model: "instances",
        version: 3,
        events: &[
            "instance.delete-requested.v1",
            "instance.deleted.v1",
            "instance.failed.v1",
            "instance.failed.v2-removed",
            "instance.failed.v2",
            "instance.observed.v1",
            "instance.placed.v1",
            "instance.placed.v2-removed",
            "instance.placed.v2",
            "instance.released.v1",
            "instance.requested.v1",
            "instance.resume-requested.v1",
            "instance.stop-requested.v1-reason",
            "instance.stop-requested.v1",
            "tenancy.closed.v1",
            "tenancy.resumed.v1",
            "tenancy.suspended.v1",
        ],
        digest: "2423edfda93f2e7f0041c64f0db07b3ad2b5301c6a96d25ba6cd0bca90c340d8",
    },
    Version {
        model: "instances",
        version: 4,
        events: &[
            "instance.delete-requested.v1",
            "instance.deleted.v1",
            "instance.failed.v1",
            "instance.failed.v2-removed",
            "instance.failed.v2",
            "instance.observed.v1-ended",
            "instance.observed.v1",
            "instance.placed.v1",
            "instance.placed.v2-removed",
            "instance.placed.v2",
            "instance.released.v1",
            "instance.requested.v1-restart",
            "instance.requested.v1",
            "instance.resume-requested.v1",
            "instance.stop-requested.v1-reason",
            "instance.stop-requested.v1",
            "tenancy.closed.v1",
            "tenancy.resumed.v1",
            "tenancy.suspended.v1",
        ],
        digest: "35016575e43ea6f50aec80f692584d6ae5d5bdefb67d6c90e29f56587b9a2286",
    },
    Version {
        model: "backends",
        version: 4,
        events: &[
            "backend.approved.v1",
            "backend.capacity-set.v1",
            "backend.connected.v1",
            "backend.cordoned.v1",
            "backend.drain-cancelled.v1",
            "backend.drain-ended.v1",
            "backend.drain-started.v1",
            "backend.enrolled.v1",
            "backend.enrolled.v2-labels",
            "backend.enrolled.v2-token",
            "backend.enrolled.v2",
            "backend.key-issued.v1",
            "backend.key-revoked.v1",
            "backend.labels-set.v1",
            "backend.lost.v1",
            "backend.removed.v1",
            "backend.uncordoned.v1",
        ],
        digest: "ffbd8f67bdfb91bd380bfd4b9b54bda0b36c75bd5abda117aa1a1fad48012a72",
    },
    Version {
        model: "instances",
        version: 4,
        events: &[
            "instance.administered.v1",
            "instance.delete-requested.v1",
            "instance.deleted.v1",
            "instance.failed.v1",
            "instance.failed.v2-removed",
            "instance.failed.v2",
            "instance.observed.v1-ended",
            "instance.observed.v1",
            "instance.placed.v1",
            "instance.placed.v2-removed",
            "instance.placed.v2",
            "instance.released.v1",
            "instance.requested.v1-requires",
            "instance.requested.v1-restart",
            "instance.requested.v1",
            "instance.resume-requested.v1",
            "instance.stop-requested.v1-reason",
            "instance.stop-requested.v1",
            "tenancy.closed.v1",
            "tenancy.quota-set.v1",
            "tenancy.resumed.v1",
            "tenancy.suspended.v1",
        ],
        digest: "0c03428485a2fb5e493dc5f47a1905df95593fcf85cebcfbf979be3ec6a211e6",
    },
    Version {
        model: "instances",
        version: 4,
        events: &[
            "instance.administered.v1",
            "instance.delete-requested.v1",
            "instance.deleted.v1",
            "instance.failed.v1",
            "instance.failed.v2-removed",
            "instance.failed.v2",
            "instance.observed.v1-ended",
            "instance.observed.v1",
            "instance.placed.v1",
            "instance.placed.v2-removed",
            "instance.placed.v2",
            "instance.released.v1",
            "instance.requested.v1-requires",
            "instance.requested.v1-restart",
            "instance.requested.v1-size",
            "instance.requested.v1",
            "instance.resume-requested.v1",
            "instance.stop-requested.v1-reason",
            "instance.stop-requested.v1",
            "tenancy.closed.v1",
            "tenancy.quota-set.v1",
            "tenancy.resumed.v1",
            "tenancy.suspended.v1",
        ],
        digest: "215fb1628275cde1fcd5db6dd95d6d341222bddc1c33f7e98a6511bd001e6822",
    },
    Version {
        model: "users",
        version: 2,
        events: &[
            "account.created.v1",
            "account.disabled.v1",
            "account.enabled.v1",
            "account.erased.v1",
            "account.key-added.v1",
            "account.key-removed.v1",
            "account.password-changed.v1",
            "account.password-reset-issued.v1",
            "account.profile-changed.v1",
            "account.role-changed.v1",
        ],
        digest: "f222a5118c6bda3ce6ccb48c5b1a55fd49f92124f21bd52b3c81f847499f5822",
    },
    Version {
        model: "instances",
        version: 4,
        events: &[
            "instance.administered.v1",
            "instance.delete-requested.v1",
            "instance.deleted.v1",
            "instance.failed.v1",
            "instance.failed.v2-removed",
            "instance.failed.v2",
            "instance.keys-changed.v1",
            "instance.observed.v1-ended",
            "instance.observed.v1",
            "instance.placed.v1",
            "instance.placed.v2-removed",
            "instance.placed.v2",
            "instance.released.v1",
            "instance.requested.v1-keys",
            "instance.requested.v1-requires",
            "instance.requested.v1-restart",
            "instance.requested.v1-size",
            "instance.requested.v1",
            "instance.resume-requested.v1",
            "instance.stop-requested.v1-reason",
            "instance.stop-requested.v1",
            "tenancy.closed.v1",
            "tenancy.quota-set.v1",
            "tenancy.resumed.v1",
            "tenancy.suspended.v1",
        ],
        digest: "e8b9b369d39d302080ee981788f1de069f224a33484a138376e8ad36e1727d42",
    },
    Version {
        model: "backends",
        version: 4,
        events: &[
            "backend.approved.v1",
            "backend.capacity-set.v1",
            "backend.connected.v1",
            "backend.cordoned.v1",
            "backend.drain-cancelled.v1",
            "backend.drain-ended.v1",
            "backend.drain-started.v1",
            "backend.enrolled.v1",
            "backend.enrolled.v2-labels",
            "backend.enrolled.v2-token",
            "backend.enrolled.v2",
            "backend.key-issued.v1-overlap",
            "backend.key-issued.v1",
            "backend.key-revoked.v1",
            "backend.labels-set.v1",
            "backend.lost.v1",
            "backend.removed.v1",
            "backend.uncordoned.v1",
        ],
        digest: "e2bbf6c13d3b4f2942b08b3868cd443f32375924add5bdf3a0a5aefbc8058cbf",
    },
    Version {
        model: "users",
        version: 3,
        events: &[
            "account.created.v1-group",
            "account.created.v1",
            "account.disabled.v1",
            "account.enabled.v1",
            "account.erased.v1",
            "account.group-changed.v1",
            "account.key-added.v1",
            "account.key-removed.v1",
            "account.password-changed.v1",
            "account.password-reset-issued.v1",
            "account.profile-changed.v1",
            "account.role-changed.v1",
        ],
        digest: "a09c71a0e3dcc7f0e116349d1d2a6ab08377aa99b8fdc7a186f6a2dce8573315",
    },
    Version {
        model: "instances",
        version: 4,
        events: &[
            "instance.administered.v1",
            "instance.delete-requested.v1",
            "instance.deleted.v1",
            "instance.failed.v1",
            "instance.failed.v2-removed",
            "instance.failed.v2",
            "instance.keys-changed.v1",
            "instance.moved.v1",
            "instance.observed.v1-ended",
            "instance.observed.v1",
            "instance.placed.v1",
            "instance.placed.v2-removed",
            "instance.placed.v2",
            "instance.released.v1",
            "instance.requested.v1-keys",
            "instance.requested.v1-on-lost",
            "instance.requested.v1-requires",
            "instance.requested.v1-restart",
            "instance.requested.v1-size",
            "instance.requested.v1",
            "instance.resume-requested.v1",
            "instance.stop-requested.v1-group",
            "instance.stop-requested.v1-reason",
            "instance.stop-requested.v1",
            "tenancy.closed.v1",
            "tenancy.quota-set.v1",
            "tenancy.resumed.v1",
            "tenancy.suspended.v1",
        ],
        digest: "d769adf83fec2486a43a9a78d22ae0c5d12a29d50f0a92369971883b3f446ef9",
    },
    Version {
        model: "sessions",
        version: 1,
        events: &[
            "session.closed.v1",
            "session.ended.v1",
            "session.resumed.v1",
            "session.revoked.v1",
            "session.started.v1-client",
            "session.started.v1-token",
            "session.started.v1",
            "session.suspended.v1",
        ],
        digest: "03922b0adf5bdc9dbca263a3417387bf9588d31c3a01f4af74726cec0340fafc",
    },
];

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
            let origin = Origin { actor: Actor::System, cause: "golden".to_owned(), trace_parent: None };
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

//! The database is dropped under running replicas, or replaced by an older copy of its files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tempfile::TempDir;

use super::{Context, Effect, Fault, process};
use crate::report::{Evidence, Part};
use crate::system::System;

/// How long one attempt to drop the database takes at most.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);
const DROP_ATTEMPTS: usize = 3;

/// `dropDatabase`.
#[derive(Debug)]
pub struct DropDatabase;

impl Fault for DropDatabase {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            let mongo = context.system.world.mongo.clone();
            let mut dropped = false;
            for _ in 0..DROP_ATTEMPTS {
                let mongo = mongo.clone();
                // In its own task, because a driver operation must not be dropped half-way.
                let attempt = tokio::spawn(async move {
                    let client = mongodb::Client::with_uri_str(&mongo.uri).await?;
                    client.database(&mongo.database).drop().await
                });
                dropped = matches!(tokio::time::timeout(DROP_TIMEOUT, attempt).await, Ok(Ok(Ok(()))));
                if dropped {
                    break;
                }
            }
            let evidence = vec![Evidence { what: "the database was dropped".to_owned(), confirmed: dropped }];
            Effect { targets: vec![(Part::Mongod, 0)], evidence, what: String::new() }
        })
    }

    fn end<'a>(&'a mut self, _: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async { Vec::new() })
    }
}

/// At the beginning the files are copied, at the end they replace the newer ones.
#[derive(Debug, Default)]
pub struct OldCopy {
    copies: Option<TempDir>,
}

impl Fault for OldCopy {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            let copies = tempfile::tempdir().unwrap();
            let system = &mut *context.system;
            let mut effect = Effect::default();
            // All members, because a single older one would only catch up.
            for n in 0..process::count(system, Part::Mongod) {
                effect.evidence.push(process::kill(system, Part::Mongod, n).await);
                effect.targets.push((Part::Mongod, n));
            }
            for (n, path) in stores(system).iter().enumerate() {
                copy(path, &copies.path().join(n.to_string()));
            }
            for n in 0..process::count(system, Part::Mongod) {
                process::restart(system, Part::Mongod, n).await;
            }
            self.copies = Some(copies);
            effect
        })
    }

    fn end<'a>(&'a mut self, system: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            let Some(copies) = self.copies.take() else { return Vec::new() };
            for n in 0..process::count(system, Part::Mongod) {
                process::kill(system, Part::Mongod, n).await;
                system.world.mongods.as_ref().unwrap().store(n).wipe();
            }
            for (n, path) in stores(system).iter().enumerate() {
                copy(&copies.path().join(n.to_string()), path);
            }
            for n in 0..process::count(system, Part::Mongod) {
                process::restart(system, Part::Mongod, n).await;
            }
            Vec::new()
        })
    }
}

fn stores(system: &System) -> Vec<PathBuf> {
    let mongods = system.world.mongods.as_ref().unwrap();
    (0..mongods.len()).map(|n| mongods.store(n).path.clone()).collect()
}

/// Copies the files of a directory into another, durably: a later power cut must not lose them.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "lost+found" {
            continue;
        }
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).unwrap();
            File::open(&target).unwrap().sync_all().unwrap();
        }
    }
    File::open(to).unwrap().sync_all().unwrap();
}

//! Views of live collections, for people and programs that read the database by hand.

use bson::{Document as BsonDocument, doc};
use futures::TryStreamExt as _;
use mongodb::Database;
use mongodb::error::ErrorKind;
use mongodb::results::{CollectionSpecification, CollectionType};

use super::{CollectionName, MongoStore, StoreError};

/// The stages that make the rows of a view of live documents.
#[derive(Debug, Clone, PartialEq)]
pub struct View(Vec<BsonDocument>);

impl View {
    /// A view through these stages.
    pub(crate) const fn new(stages: Vec<BsonDocument>) -> Self {
        Self(stages)
    }
}

/// The server's code for a collection or view that exists.
const NAMESPACE_EXISTS: i32 = 48;

impl MongoStore {
    /// Makes each name a view of its collection, unless it is that view already or is a collection itself. Returns the names
    /// of those that it changed.
    pub(crate) async fn ensure_views(
        &self,
        wanted: Vec<(&'static str, CollectionName, View)>,
    ) -> Result<Vec<&'static str>, StoreError> {
        let names: Vec<_> = wanted.iter().map(|(name, ..)| *name).collect();
        let named = doc! { "name": { "$in": names } };
        let found: Vec<CollectionSpecification> = self
            .run_bulk(|database| async move { database.list_collections().filter(named).await?.try_collect().await })
            .await?;
        let mut changed = Vec::new();
        for (name, of, View(stages)) in wanted {
            let of = of.as_str().to_owned();
            let is_changed = match found.iter().find(|found| found.name == name) {
                Some(found) if !matches!(found.collection_type, CollectionType::View) => false,
                Some(found) if is_view_of(found, &of, &stages) => false,
                Some(_) => {
                    let change = doc! { "collMod": name, "viewOn": of, "pipeline": stages };
                    self.run_bulk(|database| async move { database.run_command(change).await }).await?;
                    true
                }
                None => self.run_bulk(|database| create(database, name, of, stages)).await?,
            };
            if is_changed {
                changed.push(name);
            }
        }
        Ok(changed)
    }
}

/// Creates a view. Another process may do the same at once.
async fn create(
    database: Database,
    name: &'static str,
    of: String,
    stages: Vec<BsonDocument>,
) -> mongodb::error::Result<bool> {
    match database.create_collection(name).view_on(of).pipeline(stages).await {
        Ok(()) => Ok(true),
        Err(error) => match &*error.kind {
            ErrorKind::Command(refusal) if refusal.code == NAMESPACE_EXISTS => Ok(false),
            _ => Err(error),
        },
    }
}

fn is_view_of(found: &CollectionSpecification, of: &str, stages: &[BsonDocument]) -> bool {
    let options = &found.options;
    options.view_on.as_deref() == Some(of) && options.pipeline.as_deref() == Some(stages)
}

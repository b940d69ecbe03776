//! What the database does for a query of the store. Its profiler tells, so the query is the very one that the store sends.

use bson::{Bson, Document, doc};
use dockhost_projections::StoredModel;
use dockhost_projections::store::CollectionName;
use mongodb::{Collection, Database};

use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, wait_until};

/// The queries of one model, from the start on.
pub struct Profiler {
    database: Database,
    profile: Collection<Document>,
    collection: CollectionName,
    last: Option<Document>,
}

/// What the database did for one query.
#[derive(Debug)]
pub struct Work {
    /// The documents that it read.
    pub documents: i64,
    /// The entries of indexes that it read.
    pub keys: i64,
    /// It sorted what it had read, because no index has that order.
    pub is_sorted: bool,
    /// The indexes that it used.
    pub plan: String,
}

impl Profiler {
    /// Begins with the queries of a model that was never built again.
    pub async fn start<M: StoredModel>(mongo: &Mongo) -> Self {
        let client = mongodb::Client::with_uri_str(&mongo.uri).await.unwrap();
        let database = client.database(&mongo.database);
        // All operations, of this database only.
        database.run_command(doc! { "profile": 2 }).await.unwrap();
        let profile = database.collection("system.profile");
        Self { database, profile, collection: CollectionName::first(M::NAME), last: None }
    }

    /// What the database did for the one query since the last call. It plans the next one anew: a plan that it keeps for
    /// queries of the same form is given up only after ten times the work that it took.
    pub async fn last_query(&mut self) -> Work {
        let queries = doc! { "op": "command", "command.aggregate": self.collection.as_str() };
        let entry = wait_until("the profiler has recorded the query", DEADLINE, async || {
            let newest = self.profile.find_one(queries.clone()).sort(doc! { "$natural": -1 }).await.unwrap();
            newest.filter(|entry| self.last.as_ref() != Some(entry)).ok_or("it has recorded nothing new")
        })
        .await;
        let number = |member: &str| match entry.get(member) {
            Some(Bson::Int32(number)) => i64::from(*number),
            Some(Bson::Int64(number)) => *number,
            other => panic!("{member} is {other:?}: {entry}"),
        };
        let work = Work {
            documents: number("docsExamined"),
            keys: number("keysExamined"),
            is_sorted: entry.get_bool("hasSortStage").unwrap_or(false),
            plan: entry.get_str("planSummary").unwrap().to_owned(),
        };
        self.last = Some(entry);
        self.database.run_command(doc! { "planCacheClear": self.collection.as_str() }).await.unwrap();
        work
    }
}

//! Pages of a list in the order of the ids, which is the order of creation, or backwards. A page begins after the last id of the page
//! before, so documents that are added or changed meanwhile are neither skipped nor repeated.

use bson::{Document as BsonDocument, doc};

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<Id> {
    /// The last id of the page before; `None` for the first page.
    pub after: Option<Id>,
    /// The most documents that the caller shows. A query returns one more if there are more.
    pub limit: u32,
}

impl<Id: std::fmt::Display> Page<Id> {
    /// The stages that select this page of what a filter selects.
    pub(crate) fn stages(&self, filter: BsonDocument) -> Vec<BsonDocument> {
        self.stages_in(filter, "$gt", 1)
    }

    /// The same, with the last ones of the list first.
    pub(crate) fn stages_from_the_last(&self, filter: BsonDocument) -> Vec<BsonDocument> {
        self.stages_in(filter, "$lt", -1)
    }

    fn stages_in(&self, filter: BsonDocument, beyond: &str, order: i32) -> Vec<BsonDocument> {
        let mut stages = vec![doc! { "$match": filter }];
        if let Some(after) = &self.after {
            stages.push(doc! { "$match": { "_id": { beyond: after.to_string() } } });
        }
        stages.extend([doc! { "$sort": { "_id": order } }, doc! { "$limit": i64::from(self.limit) + 1 }]);
        stages
    }
}

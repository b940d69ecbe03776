//! Writes whole documents, fenced by sequence: a document is stored unless the stored one is as far or further.
//!
//! One `update` command carries many documents. The database evaluates the condition on the stored document itself (in an
//! aggregation pipeline), so nothing can happen between check and write, and a projector that was suspended and continues
//! beside its successor does no harm. A document is a `$literal`, so none of its text is an expression. Writes are
//! idempotent: every failure may be retried.

use bson::{Bson, Document as BsonDocument, RawArrayBuf, RawDocumentBuf, rawdoc};
use futures::stream::{self, StreamExt, TryStreamExt};
use mongodb::error::{ErrorKind, WriteFailure};
use serde::Serialize;

use super::checkpoint::number;
use super::schema::{Document, StoredModel};
use super::{CollectionName, MongoStore, StoreError};

/// Documents per command.
const DOCUMENTS_PER_COMMAND: usize = 1000;
/// Bytes per command: below the limit of one BSON document (16 MiB), with room for the command around them.
const BYTES_PER_COMMAND: usize = 12 * 1024 * 1024;
/// Concurrent commands.
const CONCURRENT_COMMANDS: usize = 4;
/// Two upserts of the same new document can collide in its `_id`; the next attempt finds the document.
const MAX_ATTEMPTS_UPSERT: u32 = 4;
const DUPLICATE_KEY: i32 = 11000;

/// Whether a write of one document failed because there is one with its id.
pub(super) fn is_duplicate(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}

/// The stored form of a document: its JSON form, as BSON.
pub(crate) fn encode<M: StoredModel>(document: &M::Document) -> Result<RawDocumentBuf, super::Cause> {
    #[cfg(feature = "testing")]
    if super::next_fold::is_next(M::NAME) {
        let mut form = serde_json::to_value(document)?;
        super::next_fold::add_member(&mut form);
        return to_bson(&form);
    }
    to_bson(document)
}

pub(super) fn to_bson(value: &impl Serialize) -> Result<RawDocumentBuf, super::Cause> {
    Ok(bson::serialize_to_raw_document_buf(&serde_json::to_value(value)?)?)
}

impl MongoStore {
    /// Stores each document unless the stored one is as far or further.
    pub(crate) async fn write<'a, M: StoredModel>(
        &self,
        collection: &CollectionName,
        documents: impl IntoIterator<Item = &'a M::Document>,
    ) -> Result<(), StoreError> {
        let updates: Result<Vec<_>, _> = documents.into_iter().map(fenced::<M>).collect();
        self.update_all(collection, updates.map_err(StoreError::Rejected)?).await
    }

    /// Inserts documents into a collection with a single writer: not fenced, and faster.
    pub(crate) async fn insert(
        &self,
        collection: &CollectionName,
        documents: Vec<RawDocumentBuf>,
    ) -> Result<(), StoreError> {
        let name = collection.as_str().to_owned();
        self.run_bulk(|database| async move {
            database.collection::<RawDocumentBuf>(&name).insert_many(documents).ordered(false).await
        })
        .await?;
        Ok(())
    }

    /// Replaces documents in a collection with a single writer.
    pub(crate) async fn replace(
        &self,
        collection: &CollectionName,
        documents: Vec<RawDocumentBuf>,
    ) -> Result<(), StoreError> {
        let update = |document: RawDocumentBuf| {
            let id =
                document.get("_id").map_err(StoreError::rejected)?.ok_or_else(|| StoreError::rejected("no _id"))?;
            let query = rawdoc! { "_id": id };
            Ok(rawdoc! { "q": query, "u": document })
        };
        self.update_all(collection, documents.into_iter().map(update).collect::<Result<_, StoreError>>()?).await
    }

    async fn update_all(&self, collection: &CollectionName, updates: Vec<RawDocumentBuf>) -> Result<(), StoreError> {
        let commands = stream::iter(commands(updates)).map(|updates| self.update(collection, updates));
        commands.buffer_unordered(CONCURRENT_COMMANDS).try_collect().await
    }

    async fn update(&self, collection: &CollectionName, updates: Vec<RawDocumentBuf>) -> Result<(), StoreError> {
        let count = updates.len();
        let mut array = RawArrayBuf::new();
        for update in updates {
            array.push(update);
        }
        let command = rawdoc! {
            "update": collection.as_str(),
            "updates": array,
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true },
        };
        let mut attempts = MAX_ATTEMPTS_UPSERT;
        loop {
            let command = command.clone();
            let reply = self.run_bulk(|database| async move { database.run_raw_command(command).await }).await?;
            attempts -= 1;
            match failure_in(&reply) {
                None => return Ok(()),
                Some(CommandFailure::Collision) if attempts > 0 => {}
                Some(CommandFailure::Collision) => {
                    return Err(StoreError::rejected(format!("{count} upserts kept colliding")));
                }
                Some(CommandFailure::Error(text)) => return Err(StoreError::rejected(text)),
                Some(CommandFailure::NotYetDurable(text)) => return Err(StoreError::Unavailable(text.into())),
            }
        }
    }
}

/// The `{q, u, upsert}` that stores the document if the stored `seq` is lower or absent.
fn fenced<M: StoredModel>(document: &M::Document) -> Result<RawDocumentBuf, super::Cause> {
    let stored = encode::<M>(document)?;
    let mut older = RawArrayBuf::new();
    older.push(rawdoc! { "$lt": [{ "$ifNull": ["$seq", -1_i64] }, number(document.seq())] });
    older.push(rawdoc! { "$literal": stored });
    older.push("$$ROOT");
    let mut pipeline = RawArrayBuf::new();
    pipeline.push(rawdoc! { "$replaceWith": { "$cond": older } });
    Ok(rawdoc! { "q": { "_id": document.id().to_string() }, "u": pipeline, "upsert": true })
}

/// Splits the updates into commands within the limits of the database.
fn commands(parts: Vec<RawDocumentBuf>) -> Vec<Vec<RawDocumentBuf>> {
    let mut commands = Vec::new();
    let (mut command, mut bytes) = (Vec::new(), 0);
    for part in parts {
        let size = part.as_bytes().len();
        if !command.is_empty() && (command.len() == DOCUMENTS_PER_COMMAND || bytes + size > BYTES_PER_COMMAND) {
            commands.push(std::mem::take(&mut command));
            bytes = 0;
        }
        bytes += size;
        command.push(part);
    }
    if !command.is_empty() {
        commands.push(command);
    }
    commands
}

enum CommandFailure {
    /// Only collisions of upserts.
    Collision,
    /// Stored, but not yet durable on a majority.
    NotYetDurable(String),
    /// Any other error.
    Error(String),
}

/// The failure in the reply to a command that succeeded as a whole.
fn failure_in(reply: &BsonDocument) -> Option<CommandFailure> {
    if let Ok(errors) = reply.get_array("writeErrors")
        && !errors.is_empty()
    {
        let code = |error: &Bson| error.as_document().and_then(|error| error.get_i32("code").ok());
        return Some(match errors.iter().find(|error| code(error) != Some(DUPLICATE_KEY)) {
            None => CommandFailure::Collision,
            Some(other) => {
                // The message may quote the document, so only the code is logged.
                let code = code(other).map_or_else(|| "without a code".to_owned(), |code| code.to_string());
                CommandFailure::Error(format!("{} of the writes failed, one with code {code}", errors.len()))
            }
        });
    }
    let concern = reply.get_document("writeConcernError").ok()?;
    Some(CommandFailure::NotYetDurable(concern.get_str("errmsg").unwrap_or("write concern not satisfied").to_owned()))
}

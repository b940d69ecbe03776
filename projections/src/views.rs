//! The views `users`, `backends`, `instances` and `sessions`: the live documents of each model under its own name, whichever
//! collection holds them, with dates as dates and with the members that DockHost documents for people who read the database
//! by hand. `docs/OPERATIONS.md` lists them.

use bson::{Bson, Document as BsonDocument, doc};

use crate::store::{MongoStore, StoreError};

/// Creates missing views, and points the others at the live collections. Returns the names of the models whose views
/// changed. A view is not made while a collection of an earlier release has its name.
///
/// # Errors
/// [`StoreError`].
pub async fn ensure_views(store: &MongoStore) -> Result<Vec<&'static str>, StoreError> {
    let models = crate::read_checkpoints(store).await?.into_iter();
    let wanted = models.filter_map(|(model, checkpoint)| Some((model.name, checkpoint?.collection, (model.view)())));
    store.ensure_views(wanted.collect()).await
}

/// The stage that turns times, which documents store as text, into dates; `null` stays `null`.
pub(crate) fn dates(members: &[&str]) -> BsonDocument {
    doc! { "$set": dates_of("", members) }
}

/// The same members of an object as dates. `prefix` is the object's path with a dot.
pub(crate) fn dates_of(prefix: &str, members: &[&str]) -> BsonDocument {
    let date = |member: &&str| ((*member).to_owned(), Bson::from(doc! { "$toDate": format!("${prefix}{member}") }));
    members.iter().map(date).collect()
}

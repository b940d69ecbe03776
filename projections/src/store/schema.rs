//! What the store needs to know about a read model.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::View;

/// A document of a read model. It is stored in its JSON form, with its id as `_id`.
pub trait Document: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static {
    /// The type of its id.
    type Id: Copy + Ord + Display + FromStr + Debug + Send + Sync + 'static;

    /// Its id.
    fn id(&self) -> Self::Id;

    /// The sequence of the last event folded into it.
    fn seq(&self) -> u64;

    /// Sets that sequence; only [`crate::model::Folded`] calls this.
    fn set_seq(&mut self, seq: u64);
}

/// How a read model is stored.
pub trait StoredModel: Send + Sync + 'static {
    /// The name of the model: of its first collection, and the `_id` of its checkpoint.
    const NAME: &'static str;
    /// The version of the fold and of the stored form. Every change of either needs the next version; see
    /// `docs/ADDING-A-READ-MODEL.md`.
    const FOLD_VERSION: u32;
    /// The indexes that the queries need, each as a list of ascending members.
    const INDEXES: &'static [&'static [&'static str]];

    /// The documents.
    type Document: Document;

    /// The view of the live documents, with the model's name, for people and programs that read the database by hand. No
    /// query of DockHost reads a view.
    #[must_use]
    fn view() -> View;

    /// The fold version of this program.
    #[must_use]
    fn fold_version() -> u32 {
        #[cfg(feature = "testing")]
        if super::next_fold::is_next(Self::NAME) {
            return Self::FOLD_VERSION + 1;
        }
        Self::FOLD_VERSION
    }
}

/// The type of the ids of a model's documents.
pub type IdOf<M> = <<M as StoredModel>::Document as Document>::Id;

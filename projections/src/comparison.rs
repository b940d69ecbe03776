//! The result of comparing a model with the log.

use std::fmt;

use crate::digest::{Digest, Mismatch};
use crate::store::CollectionName;

/// A document that differs from the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Its id, as stored.
    pub id: String,
    /// How it differs.
    pub kind: DifferenceKind,
}

/// How a document differs from the log.
#[derive(Debug, Clone, PartialEq)]
pub enum DifferenceKind {
    /// The log yields it, but it is not stored.
    Missing,
    /// It is stored, but the log does not yield it.
    Unexpected,
    /// It lacks an event that the checkpoint covers.
    Behind {
        /// The last event in it.
        seq: u64,
        /// The last event that must be in it.
        required: u64,
    },
    /// Members differ.
    Content(Vec<Mismatch>),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.id)?;
        match &self.kind {
            DifferenceKind::Missing => f.write_str("is missing"),
            DifferenceKind::Unexpected => f.write_str("is not in the log"),
            DifferenceKind::Behind { seq, required } => write!(f, "is folded up to {seq} and lacks event {required}"),
            DifferenceKind::Content(members) => {
                f.write_str("differs")?;
                members.iter().try_for_each(|member| write!(f, "\n    {member}"))
            }
        }
    }
}

/// The result of comparing a model with the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The model.
    pub model: &'static str,
    /// The collection that was compared.
    pub collection: CollectionName,
    /// The position of the checkpoint that was compared.
    pub position: u64,
    /// How many documents are stored.
    pub documents: usize,
    /// How many aggregates the checkpoint quarantines; their documents are compared as far as they are folded.
    pub quarantined: usize,
    /// The digest of the stored documents.
    pub stored: Digest,
    /// The digest of the documents that the log yields; equals `stored` exactly if there is no difference.
    pub expected: Digest,
    /// The documents that differ, by id.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Whether every document is what the log yields.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.stored == self.expected
    }
}

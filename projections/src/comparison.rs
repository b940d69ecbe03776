//! What a comparison of a model with the log found.
//!
//! In: nothing; these are words. Out: two digests and every difference by name, as `dockhost verify` prints them and a
//! rebuild reports what it replaced.

use std::fmt;

use crate::digest::{Digest, Mismatch};
use crate::store::CollectionName;

/// What is wrong with one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Its id, as stored.
    pub id: String,
    /// What is wrong.
    pub kind: DifferenceKind,
}

/// What can be wrong with a document.
#[derive(Debug, Clone, PartialEq)]
pub enum DifferenceKind {
    /// The log says that it should be there.
    Missing,
    /// The log knows nothing of it.
    Unexpected,
    /// It lacks an event that the checkpoint says is in it.
    Behind {
        /// Up to where it is folded.
        seq: u64,
        /// The sequence of an event that it lacks.
        due: u64,
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
            DifferenceKind::Behind { seq, due } => write!(f, "is folded up to {seq} and lacks event {due}"),
            DifferenceKind::Content(members) => {
                f.write_str("differs")?;
                members.iter().try_for_each(|member| write!(f, "\n    {member}"))
            }
        }
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The model.
    pub model: &'static str,
    /// The collection that was compared.
    pub collection: CollectionName,
    /// The checkpoint's position when it began.
    pub position: u64,
    /// The version of the fold that the checkpoint names; documents of another than ours are expected to differ.
    pub fold_version: u32,
    /// Documents stored.
    pub documents: usize,
    /// Aggregates that the checkpoint says are held back; their documents are compared as far as they are.
    pub quarantined: usize,
    /// Of the stored documents.
    pub stored: Digest,
    /// Of what the log says that they should be; the same as `stored` exactly when there is no difference.
    pub expected: Digest,
    /// Every document that is not as the log says, by id.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Whether every document is what the log says.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.stored == self.expected
    }
}

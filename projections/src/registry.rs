//! The list of read models, and code that runs for each of them.
//!
//! `register!` in `lib.rs` is the only list: the projectors, `GET /health` and the commands derive theirs from it.

use crate::model::ReadModel;
use crate::store::View;

/// The constants of a model.
#[derive(Debug, Clone, Copy)]
pub struct ModelInfo {
    /// Its name.
    pub name: &'static str,
    /// The kind of aggregate that it folds.
    pub kind: &'static str,
    /// The fold version of this program.
    pub fold_version: fn() -> u32,
    /// Its view; see [`StoredModel::view`](crate::store::StoredModel::view).
    pub(crate) view: fn() -> View,
}

impl ModelInfo {
    /// The constants of `M`.
    #[must_use]
    pub const fn of<M: ReadModel>() -> Self {
        Self { name: M::NAME, kind: M::KIND, fold_version: M::fold_version, view: M::view }
    }
}

/// Code that is generic over the read model.
pub trait ModelVisitor {
    /// What it returns for each model.
    type Output;

    /// Runs it for one model.
    fn visit<M: ReadModel>(&mut self) -> Self::Output;
}

macro_rules! register {
    ($($model:ty),+ $(,)?) => {
        /// All read models.
        pub const MODELS: &[$crate::registry::ModelInfo] = &[$($crate::registry::ModelInfo::of::<$model>()),+];

        /// The checkpoints of all read models, in the order of [`MODELS`].
        ///
        /// # Errors
        /// [`StoreError`].
        pub async fn read_checkpoints(
            store: &$crate::MongoStore,
        ) -> Result<Vec<($crate::registry::ModelInfo, Option<$crate::store::Checkpoint>)>, $crate::StoreError> {
            let names: Vec<_> = MODELS.iter().map(|model| model.name).collect();
            Ok(MODELS.iter().copied().zip(store.checkpoints(&names).await?).collect())
        }

        /// Runs the visitor for every read model, in the order of [`MODELS`].
        pub fn visit_all<V: $crate::registry::ModelVisitor>(visitor: &mut V) -> Vec<V::Output> {
            visit_selected(None, visitor)
        }

        /// Runs the visitor for the named model, or for every model if there is no name.
        pub fn visit_selected<V: $crate::registry::ModelVisitor>(only: Option<&str>, visitor: &mut V) -> Vec<V::Output> {
            let mut outputs = Vec::new();
            $(if only.is_none_or(|name| name == <$model as $crate::StoredModel>::NAME) {
                outputs.push(visitor.visit::<$model>());
            })+
            outputs
        }
    };
}

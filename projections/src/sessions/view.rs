//! The view `sessions`.

use crate::store::View;
use crate::views::dates;

pub(super) fn view() -> View {
    View::new(vec![dates(&["startedAt", "expiresAt", "revokedAt"])])
}

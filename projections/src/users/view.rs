//! The view `users`.

use bson::doc;

use crate::sessions::Sessions;
use crate::store::{StoredModel as _, View};
use crate::views::dates;

/// Adds `lastLogin`: the start of the user's last session.
pub(super) fn view() -> View {
    let last = vec![doc! { "$sort": { "startedAt": -1 } }, doc! { "$limit": 1 }];
    let sessions = doc! { "from": Sessions::NAME, "localField": "_id", "foreignField": "principalId", "pipeline": last, "as": "last" };
    View::new(vec![
        dates(&["createdAt", "disabledAt"]),
        doc! { "$lookup": sessions },
        doc! { "$set": { "lastLogin": { "$first": "$last.startedAt" } } },
        doc! { "$unset": "last" },
    ])
}

//! The view `backends`.

use bson::doc;
use dockhost_domain::tenancy::Status;

use crate::instances::Instances;
use crate::store::{StoredModel as _, View};
use crate::views::{dates, dates_of};

/// Adds the documented `name` and `createdAt`, and `containerCount`: its instances that are not deleted.
pub(super) fn view() -> View {
    let count =
        vec![doc! { "$match": { "status": { "$ne": Status::Deleted.as_str() } } }, doc! { "$count": "instances" }];
    let instances = doc! { "from": Instances::NAME, "localField": "_id", "foreignField": "backendId", "pipeline": count, "as": "counted" };
    let has_drain = doc! { "$ne": [{ "$type": "$drain" }, "missing"] };
    let drain = dates_of("drain.", &["startedAt", "deadline", "endedAt"]);
    View::new(vec![
        dates(&["enrolledAt", "connectedAt", "lostAt", "cordonedAt", "keyRevokedAt", "removedAt"]),
        doc! { "$set": { "drain": { "$cond": [has_drain, { "$mergeObjects": ["$drain", drain] }, "$$REMOVE"] } } },
        doc! { "$lookup": instances },
        doc! { "$set": {
            "name": "$username",
            "createdAt": "$enrolledAt",
            "containerCount": { "$ifNull": [{ "$first": "$counted.instances" }, 0] },
        } },
        doc! { "$unset": "counted" },
    ])
}

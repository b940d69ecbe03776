//! The view `instances`.

use bson::doc;

use crate::store::View;
use crate::views::dates;

/// Adds each port as a member of its own. Leaves out the state, from which the other members are derived.
pub(super) fn view() -> View {
    View::new(vec![
        dates(&["createdAt", "lastActivity", "deadline", "expiresAt"]),
        doc! { "$set": { "sshPort": "$ports.ssh", "httpPort": "$ports.http", "httpsPort": "$ports.https" } },
        doc! { "$unset": ["ports", "state"] },
    ])
}

//! I18: every response has the documented envelope, and every 503 says when to try again.

use super::{Invariant, Violations};
use crate::history::Operation;

pub(super) fn check(history: &[Operation], violations: &mut Violations) {
    for operation in history {
        if let Some(what) = &operation.malformed {
            violations.add(Invariant::I18, format!("a response is outside the envelope: {what}"), [operation], []);
        }
    }
}

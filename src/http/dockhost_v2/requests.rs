//! Members of requests.

use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::tenancy::Tenancy;
use serde_json::{Map, Value};

/// Members under the names of DockHostV2, which spelt the second one so, and their names in this API.
const MEMBERS: [(&str, &str); 2] = [("SSH_PUB_KEY", "sshPublicKey"), ("opearatingSystem", "operatingSystem")];

/// What became of a member under another name.
#[derive(Debug, PartialEq, Eq)]
pub enum OtherName {
    /// It has this API's name now.
    Renamed,
    /// This API's name has another value.
    Differs {
        /// This API's name.
        own: &'static str,
    },
}

/// Takes a member that the request does not know out of the object, and puts it back under this API's name, if it is
/// DockHostV2's name of one of the request's `fields`. `None` if it is not; then nothing changes.
///
/// An empty text counts as absent: that is what forms send for a field that nobody filled in.
pub fn read_other_name(members: &mut Map<String, Value>, member: &str, fields: &[&str]) -> Option<OtherName> {
    let (_, own) = MEMBERS.into_iter().find(|(name, own)| *name == member && fields.contains(own))?;
    let value = members.remove(member)?;
    if value.is_null() || value == "" {
        return Some(OtherName::Renamed);
    }
    match members.get(own) {
        Some(known) if !known.is_null() && *known != value => Some(OtherName::Differs { own }),
        _ => {
            members.insert(own.to_owned(), value);
            Some(OtherName::Renamed)
        }
    }
}

/// Why a backend does not name an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOne {
    /// The user has none there.
    None,
    /// The user has several there.
    Several,
}

/// The user's only instance on a backend that is not deleted: DockHostV2 had one for each user and backend, and its clients
/// name it by the backend.
///
/// # Errors
/// There is none, or there are several.
pub fn only_instance_on(backend_id: BackendId, tenancy: &Tenancy) -> Result<InstanceId, NotOne> {
    let mut found = tenancy.existing().filter(|(_, instance)| {
        instance.current_placement.as_ref().is_some_and(|placement| placement.backend_id == backend_id)
    });
    match (found.next(), found.next()) {
        (Some((id, _)), None) => Ok(id),
        (None, _) => Err(NotOne::None),
        (Some(_), Some(_)) => Err(NotOne::Several),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIELDS: [&str; 2] = ["name", "sshPublicKey"];

    fn read(body: Value, member: &str) -> (Option<OtherName>, Value) {
        let Value::Object(mut members) = body else { panic!("not an object") };
        let read = read_other_name(&mut members, member, &FIELDS);
        (read, Value::Object(members))
    }

    #[test]
    fn read_other_name_of_a_field_gives_it_this_apis_name() {
        for (body, expected) in [
            (json!({ "SSH_PUB_KEY": "k" }), json!({ "sshPublicKey": "k" })),
            (json!({ "SSH_PUB_KEY": "k", "sshPublicKey": "k" }), json!({ "sshPublicKey": "k" })),
            (json!({ "SSH_PUB_KEY": "k", "sshPublicKey": null }), json!({ "sshPublicKey": "k" })),
            // Its type is checked under this API's name.
            (json!({ "SSH_PUB_KEY": 7 }), json!({ "sshPublicKey": 7 })),
            (json!({ "SSH_PUB_KEY": "" }), json!({})),
            (json!({ "SSH_PUB_KEY": null, "sshPublicKey": "k" }), json!({ "sshPublicKey": "k" })),
        ] {
            assert_eq!(read(body.clone(), "SSH_PUB_KEY"), (Some(OtherName::Renamed), expected), "{body}");
        }
    }

    #[test]
    fn read_other_name_with_another_value_keeps_this_apis() {
        let (read, rest) = read(json!({ "SSH_PUB_KEY": "k", "sshPublicKey": "other" }), "SSH_PUB_KEY");
        assert_eq!(read, Some(OtherName::Differs { own: "sshPublicKey" }));
        assert_eq!(rest, json!({ "sshPublicKey": "other" }));
    }

    #[test]
    fn read_other_name_of_no_field_of_the_request_changes_nothing() {
        for member in ["opearatingSystem", "unknown", "name"] {
            let body = json!({ "opearatingSystem": "Debian", "unknown": 1, "name": "web" });
            assert_eq!(read(body.clone(), member), (None, body), "{member}");
        }
    }
}

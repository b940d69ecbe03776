//! The difference of two JSON objects, by member. Pure.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A member of the instance that has another value than before.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = InstanceChange)]
pub struct Change {
    /// Its name, as in the instance.
    member: String,
    /// Its value before; null if it had none.
    before: Value,
    /// Its value afterwards; null if it has none any more.
    after: Value,
}

/// The members with another value, by their names. A member that is absent is the same as null.
pub fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Change> {
    let members: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |object: &Map<String, Value>, member: &String| object.get(member).cloned().unwrap_or_default();
    members
        .into_iter()
        .map(|member| Change { member: member.clone(), before: value(before, member), after: value(after, member) })
        .filter(|change| change.before != change.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn difference_names_each_member_that_is_new_changed_or_gone() {
        let before = object(&json!({ "status": "creating", "name": "web", "failure": ["late"], "sshPort": null }));
        let after = object(&json!({ "status": "running", "name": "web", "sshPort": 20_000, "stopReason": null }));
        let found: Vec<_> = difference(&before, &after)
            .into_iter()
            .map(|change| (change.member, change.before, change.after))
            .collect();
        let expected = [
            ("failure".to_owned(), json!(["late"]), Value::Null),
            ("sshPort".to_owned(), Value::Null, json!(20_000)),
            ("status".to_owned(), json!("creating"), json!("running")),
        ];
        assert_eq!(found, expected);
    }

    fn objects() -> impl Strategy<Value = Map<String, Value>> {
        let value = prop_oneof![
            Just(Value::Null),
            any::<u8>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..2).prop_map(Value::from),
        ];
        proptest::collection::btree_map("[a-e]", value, 0..6).prop_map(|members| members.into_iter().collect())
    }

    fn without_nulls(mut object: Map<String, Value>) -> Map<String, Value> {
        object.retain(|_, value| !value.is_null());
        object
    }

    proptest! {
        #[test]
        fn difference_of_an_object_with_itself_is_empty(object in objects()) {
            prop_assert_eq!(difference(&object, &object), vec![]);
        }

        #[test]
        fn difference_applied_to_the_first_object_gives_the_second(before in objects(), after in objects()) {
            let mut found = before.clone();
            for change in difference(&before, &after) {
                prop_assert_ne!(&change.before, &change.after);
                prop_assert_eq!(found.insert(change.member, change.after).unwrap_or_default(), change.before);
            }
            prop_assert_eq!(without_nulls(found), without_nulls(after));
        }

        #[test]
        fn difference_has_each_member_once_in_the_order_of_names(before in objects(), after in objects()) {
            let members: Vec<_> = difference(&before, &after).into_iter().map(|change| change.member).collect();
            prop_assert!(members.is_sorted_by(|one, next| one < next), "{:?}", members);
        }
    }
}

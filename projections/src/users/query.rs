//! Queries of `users`, for administrators.

use std::collections::BTreeMap;

use bson::{Document as BsonDocument, doc};
use dockhost_domain::account::Role;
use dockhost_domain::ids::{GroupId, UserId};
use dockhost_domain::names::Username;
use dockhost_domain::subject::AggregateId;

use super::{UserDocument, UserState, Users};
use crate::store::{MongoStore, Page, ReadResult, StoreError};

/// Which users a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserFilter {
    /// A part of the username or the email address, whatever the case of its letters.
    pub search: Option<String>,
    /// Their role.
    pub role: Option<Role>,
    /// Their state; without one, all who are not erased.
    pub state: Option<UserState>,
    /// Their group.
    pub group: Option<GroupId>,
}

/// A regular expression that matches this text only: every character but letters and digits is escaped.
fn literal(text: &str) -> String {
    text.chars().fold(String::new(), |mut pattern, c| {
        if c.is_ascii() && !c.is_ascii_alphanumeric() {
            pattern.push('\\');
        }
        pattern.push(c);
        pattern
    })
}

impl UserFilter {
    fn document(&self) -> BsonDocument {
        // As `UserDocument::state` has it.
        let (is, is_not) = (doc! { "$eq": null }, doc! { "$ne": null });
        let mut filter = match self.state {
            None => doc! { "username": is_not },
            Some(UserState::Active) => doc! { "username": is_not, "disabledAt": is },
            Some(UserState::Disabled) => doc! { "username": is_not.clone(), "disabledAt": is_not },
            Some(UserState::Erased) => doc! { "username": is },
        };
        if let Some(role) = self.role {
            filter.insert("role", role.as_str());
        }
        if let Some(group) = self.group {
            filter.insert("groupId", group.to_string());
        }
        if let Some(text) = &self.search {
            let pattern = doc! { "$regex": literal(text), "$options": "i" };
            filter.insert("$or", [doc! { "username": pattern.clone() }, doc! { "email": pattern }].to_vec());
        }
        filter
    }

    /// Whether a user is one of them; as the query selects.
    #[must_use]
    pub fn selects(&self, user: &UserDocument) -> bool {
        let contains = |text: Option<&str>| {
            let searched = self.search.as_deref().unwrap_or_default().to_lowercase();
            text.is_some_and(|text| text.to_lowercase().contains(&searched))
        };
        self.state.map_or(user.state() != UserState::Erased, |state| user.state() == state)
            && self.role.is_none_or(|role| user.role == role)
            && self.group.is_none_or(|group| user.group_id == Some(group))
            && (self.search.is_none()
                || contains(user.username.as_ref().map(Username::as_str))
                || contains(user.email.as_deref()))
    }
}

impl MongoStore {
    /// A page of the users that a filter selects, the oldest account first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users(
        &self,
        filter: &UserFilter,
        page: Page<UserId>,
    ) -> Result<ReadResult<Vec<UserDocument>>, StoreError> {
        self.find_with::<Users>(None, page.stages(filter.document())).await
    }

    /// One user; stale if the account is quarantined.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_by_id(&self, id: UserId) -> Result<ReadResult<Option<UserDocument>>, StoreError> {
        let filter = doc! { "_id": id.to_string() };
        let found = self.find::<Users>(Some(AggregateId::Account(id)), filter, doc! {}).await?;
        Ok(found.map(|mut documents| documents.pop()))
    }

    /// The members of these groups.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn members_of(&self, groups: &[GroupId]) -> Result<ReadResult<Vec<UserId>>, StoreError> {
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let found = self.find::<Users>(None, doc! { "groupId": { "$in": groups } }, doc! {}).await?;
        Ok(found.map(|users| users.into_iter().map(|user| user.user_id).collect()))
    }

    /// The groups of these users, without those who are in none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn groups_of(
        &self,
        ids: impl IntoIterator<Item = UserId>,
    ) -> Result<ReadResult<BTreeMap<UserId, GroupId>>, StoreError> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let found = self.find::<Users>(None, doc! { "_id": { "$in": ids } }, doc! {}).await?;
        Ok(found.map(|users| users.into_iter().filter_map(|user| Some((user.user_id, user.group_id?))).collect()))
    }

    /// The names of these users, without those who are erased.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usernames(
        &self,
        ids: impl IntoIterator<Item = UserId>,
    ) -> Result<ReadResult<BTreeMap<UserId, Username>>, StoreError> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let found = self.find::<Users>(None, doc! { "_id": { "$in": ids } }, doc! {}).await?;
        Ok(found.map(|users| users.into_iter().filter_map(|user| Some((user.user_id, user.username?))).collect()))
    }
}

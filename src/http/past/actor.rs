//! On whose behalf an event happened, as its reader may know.

use std::collections::BTreeMap;

use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::names::Username;
use dockhost_projections::users::Users;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::app::App;
use crate::http::consistency;
use crate::http::extract::ReadPosition;
use crate::http::response::ApiError;

/// On whose behalf something happened.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventActor {
    kind: ActorKind,
    /// The id of the user or backend. That of an administrator is shown to administrators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<Uuid>,
    /// The name of the user or backend, if it is known; those of users are shown to administrators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
}

/// - `user`: a user, about what is their own. `admin`: an administrator, about what is not.
/// - `backend`: a machine. `system`: the servers by themselves. `operator`: a command beside the servers.
/// - `anonymous`: somebody who was not signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ActorKind {
    Anonymous,
    User,
    Admin,
    Backend,
    Operator,
    System,
}

/// What a reader may know of actors.
pub struct Actors {
    /// The names of users; `None` if the reader is no administrator.
    names: Option<BTreeMap<UserId, Username>>,
}

impl Actors {
    /// For the owner of what the events are about.
    pub const fn for_owner() -> Self {
        Self { names: None }
    }

    /// For an administrator: with the names of these actors.
    ///
    /// # Errors
    /// Those of the read models.
    pub async fn for_administrator(app: &App, actors: impl Iterator<Item = Actor>) -> Result<Self, ApiError> {
        let users = actors.filter_map(|actor| match actor {
            Actor::User(id) | Actor::Admin(id) => Some(id),
            Actor::Backend(_) | Actor::Anonymous | Actor::Operator | Actor::System => None,
        });
        let mut users: Vec<_> = users.collect();
        users.sort_unstable();
        users.dedup();
        let query = || app.store.usernames(users.clone());
        let names = consistency::read::<Users, _>(app, ReadPosition(None), query).await?.value;
        Ok(Self { names: Some(names) })
    }

    /// An actor, as the reader may know.
    pub fn view(&self, app: &App, actor: Actor) -> EventActor {
        let name = |id| self.names.as_ref().and_then(|names| names.get(&id)).map(ToString::to_string);
        let user = |id: UserId| (Some(id.uuid()), name(id));
        let (kind, (id, name)) = match actor {
            Actor::Anonymous => (ActorKind::Anonymous, (None, None)),
            Actor::Operator => (ActorKind::Operator, (None, None)),
            Actor::System => (ActorKind::System, (None, None)),
            Actor::User(id) => (ActorKind::User, user(id)),
            Actor::Admin(id) if self.names.is_some() => (ActorKind::Admin, user(id)),
            Actor::Admin(_) => (ActorKind::Admin, (None, None)),
            Actor::Backend(id) => (ActorKind::Backend, (Some(id.uuid()), app.backend_name(id))),
        };
        EventActor { kind, id, name }
    }
}

//! How commands name an instance: by its id, by its name, or as the only one of the user on a backend.

use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::tenancy::Tenancy;
use dockhost_projections::instances::InstanceRef;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::dockhost_v2::{NotOne, only_instance_on};
use crate::http::queries::instance::reference;
use crate::http::response::ApiError;

/// The instance that a command is for.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "instanceId": "ada-container" })))]
pub struct InstanceRequest {
    /// The instance's id or its name.
    #[garde(custom(is_named(self.backend_id.is_some())))]
    #[schema(
        value_type = String,
        required,
        pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    )]
    instance_id: Option<String>,
    /// The backend of the user's only instance there: so clients of DockHostV2 name it.
    #[garde(skip)]
    #[schema(ignore)]
    backend_id: Option<String>,
}

/// Something must name the instance.
fn is_named(by_backend: bool) -> impl FnOnce(&Option<String>, &()) -> garde::Result {
    move |instance_id, ()| match instance_id {
        None if !by_backend => Err(garde::Error::new("is missing")),
        _ => Ok(()),
    }
}

impl InstanceRequest {
    /// How it names the instance.
    ///
    /// # Errors
    /// `not_found` if nothing can have this name.
    pub fn named(self) -> Result<Named, ApiError> {
        let backend = self.backend_id.map(|id| id.parse().map_err(|_| ApiError::not_found("instance"))).transpose()?;
        match (self.instance_id, backend) {
            (Some(id_or_name), on) => Ok(Named::By { instance: reference(&id_or_name)?, on }),
            (None, Some(backend)) => Ok(Named::OnlyOneOn(backend)),
            (None, None) => Err(ApiError::bug("a valid request names no instance")),
        }
    }
}

/// How a request names an instance.
#[derive(Debug, Clone)]
pub enum Named {
    /// By its id or its name.
    By {
        /// Its id or its name.
        instance: InstanceRef,
        /// The backend that it must be on, if the request says so.
        on: Option<BackendId>,
    },
    /// As the user's only one on a backend.
    OnlyOneOn(BackendId),
}

impl Named {
    /// By its id or its name.
    ///
    /// # Errors
    /// `not_found` if the text is neither.
    pub fn by(id_or_name: &str) -> Result<Self, ApiError> {
        Ok(Self::By { instance: reference(id_or_name)?, on: None })
    }

    /// The instance that has this name now.
    ///
    /// # Errors
    /// There is none, or several have it.
    pub fn find(&self, tenancy: &Tenancy) -> Result<InstanceId, Unnamed> {
        let (instance, on) = match self {
            Self::By { instance, on } => (instance, *on),
            Self::OnlyOneOn(backend) => {
                return only_instance_on(*backend, tenancy).map_err(|reason| match reason {
                    NotOne::None => Unnamed::NotFound,
                    NotOne::Several => Unnamed::SeveralOnBackend,
                });
            }
        };
        let id = match instance {
            InstanceRef::Id(id) => Some(*id),
            InstanceRef::Name(name) => tenancy.find_by_name(name),
        };
        let id = id.ok_or(Unnamed::NotFound)?;
        let placement = tenancy.instance(id).and_then(|instance| instance.current_placement.as_ref());
        match (on, placement) {
            (Some(on), Some(placement)) if placement.backend_id != on => Err(Unnamed::OnAnotherBackend),
            _ => Ok(id),
        }
    }
}

/// Why a request names no instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unnamed {
    /// There is none of this name.
    NotFound,
    /// The user has several on the backend that is to name one.
    SeveralOnBackend,
    /// It is on another backend than the request says.
    OnAnotherBackend,
}

impl From<Unnamed> for ApiError {
    fn from(unnamed: Unnamed) -> Self {
        let (field, problem) = match unnamed {
            Unnamed::NotFound => return Self::not_found("instance"),
            Unnamed::SeveralOnBackend => ("instanceId", "is missing; you have several instances on this backend"),
            Unnamed::OnAnotherBackend => ("backendId", "is not the backend of this instance"),
        };
        Self::invalid_field(field, problem)
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::ids::UserId;
    use serde_json::{Value, json};

    use crate::http::testing::{Answer, Caller, TestApp};

    async fn stop(app: &TestApp, user: &Caller<UserId>, body: Value) -> Answer {
        let request = app.put("/api/v2/user/instance/stop", body).token(&user.token);
        request.header("prefer", "respond-async").send().await
    }

    fn problem(answer: &Answer) -> (u16, &Value, &Value) {
        let [problem] = &answer.details().as_array().unwrap()[..] else { panic!("{answer:?}") };
        (answer.status, &problem["field"], &problem["problem"])
    }

    #[tokio::test]
    async fn instance_named_by_its_backend_is_the_users_only_one_there() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 9).await;
        let (ada, eve) = (app.user("ada").await, app.user("eve").await);
        app.running_instance(&eve, "web").await;
        let by_backend = json!({ "backendId": backend.id });
        let none = stop(&app, &ada, by_backend.clone()).await;
        assert_eq!(none.error(), (404, "not_found"), "another user has one there: {none:?}");
        let id = app.running_instance(&ada, "web").await;
        let one = stop(&app, &ada, by_backend.clone()).await;
        assert_eq!((one.status, &one.data()["instanceId"]), (202, &json!(id)), "{one:?}");
        app.running_instance(&ada, "build").await;
        let several = stop(&app, &ada, by_backend).await;
        let expected = json!("is missing; you have several instances on this backend");
        assert_eq!(problem(&several), (422, &json!("instanceId"), &expected));
    }

    #[tokio::test]
    async fn instance_named_by_name_and_backend_must_be_there() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 9).await;
        let ada = app.user("ada").await;
        let id = app.running_instance(&ada, "web").await;
        let other = json!({ "instanceId": "web", "backendId": id });
        let refused = stop(&app, &ada, other).await;
        let expected = json!("is not the backend of this instance");
        assert_eq!(problem(&refused), (422, &json!("backendId"), &expected));
        let agreeing = stop(&app, &ada, json!({ "instanceId": "web", "backendId": backend.id })).await;
        assert_eq!(agreeing.status, 202, "{agreeing:?}");
    }

    #[tokio::test]
    async fn instance_that_nothing_names_is_missing() {
        let app = TestApp::new().await;
        let ada = app.user("ada").await;
        for body in [json!({}), json!({ "instanceId": null, "backendId": null })] {
            let missing = stop(&app, &ada, body).await;
            assert_eq!(problem(&missing), (422, &json!("instanceId"), &json!("is missing")));
        }
        for backend in ["", "lab-1", "*"] {
            let answer = stop(&app, &ada, json!({ "backendId": backend })).await;
            assert_eq!(answer.error(), (404, "not_found"), "{backend}");
        }
    }
}

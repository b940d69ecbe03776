//! A user's client at one replica, which records what it sends.

use dockhost_domain::ids::UserId;
use dockhost_harness::http::{Answer, Client};

use crate::history::{Kind, Recorder};
use crate::request::{Caller, Request, send_recorded};

/// The client.
pub struct Person {
    /// Its name in the history.
    pub name: String,
    pub recorder: Recorder,
    replica: usize,
    user: String,
    client: Client,
    id: Option<UserId>,
}

impl Person {
    /// A client of the user `user` at a replica with this URL.
    #[must_use]
    pub fn new((name, user): (String, String), (replica, url): (usize, &str), recorder: &Recorder) -> Self {
        Self { name, recorder: recorder.clone(), replica, user, client: Client::new(url), id: None }
    }

    #[must_use]
    pub fn is_signed_in(&self) -> bool {
        self.client.token().is_some()
    }

    /// Signs in; the first time signs up, if this client is to make the account.
    pub async fn sign_in(&mut self, makes_account: bool) {
        let request = if self.id.is_none() && makes_account {
            Request::sign_up(&self.user, Some(format!("signup-{}", self.user)))
        } else {
            Request::sign_in(&self.user)
        };
        let Some(answer) = self.send(request).await else { return };
        if let Some(token) = answer.data()["accessToken"].as_str() {
            self.id = answer.data()["user"]["id"].as_str().and_then(|id| id.parse().ok());
            self.client = self.client.with_token(token);
        }
    }

    /// Sends a request; `None` if there is no answer. Forgets a token that is refused.
    pub async fn send(&mut self, request: Request) -> Option<Answer> {
        let is_sign_in = matches!(request.kind, Kind::SignUp | Kind::SignIn);
        let client = if is_sign_in { self.client.without_token() } else { self.client.clone() };
        let user = if request.kind == Kind::SignUp { None } else { self.id };
        let caller = Caller { client: &self.name, replica: self.replica, user };
        let (_, answer) = send_recorded(&client, caller, &self.recorder, &request).await;
        if answer.as_ref().is_some_and(|answer| answer.code() == "unauthorized") {
            self.client = self.client.without_token();
        }
        answer
    }
}

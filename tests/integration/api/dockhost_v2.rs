//! The pages of DockHostV2's frontend: each call as they make it, in a browser, with cookies and from their own origin.

use dockhost::http::dockhost_v2::{INSTANCES, RESUME, STOP};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::http::{Answer, Client, SSH_KEY};

const PAGE: &str = "http://localhost:3000";

/// A page in a browser: asks for permission before each request, as `XMLHttpRequest` does with JSON and
/// `withCredentials`, and keeps the cookie that it is given.
struct Page {
    client: Client,
    cookie: Option<String>,
}

impl Page {
    fn open(world: &World) -> Self {
        // The API is on the page's site; another port is no other site.
        let url = world.replicas[0].url.replace("127.0.0.1", "localhost");
        Self { client: Client::new(&url), cookie: None }
    }

    /// Sends a request with this body, if the answer to the preflight request allows it.
    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> Answer {
        if body.is_some() || method != Method::GET {
            self.ask(&method, path).await;
        }
        let cookie = self.cookie.clone().unwrap_or_default();
        let mut headers = vec![("origin", PAGE), ("sec-fetch-site", "same-site")];
        if !cookie.is_empty() {
            headers.push(("cookie", &cookie));
        }
        let answer = match body {
            Some(body) => self.client.json(method.clone(), path, &headers, body).await,
            None => self.client.send(method.clone(), path, &headers, None).await,
        };
        // Otherwise the browser hides the answer from the page.
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{method} {path}");
        if let Some(token) = answer.cookie("accessToken") {
            self.cookie = Some(format!("accessToken={token}"));
        }
        answer
    }

    /// The preflight request.
    async fn ask(&self, method: &Method, path: &str) {
        let headers = [
            ("origin", PAGE),
            ("access-control-request-method", method.as_str()),
            ("access-control-request-headers", "content-type"),
        ];
        let answer = self.client.send(Method::OPTIONS, path, &headers, None).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE), "{method} {path}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{method} {path}");
        let allows = |name: &str, word: &str| {
            let list = answer.header(name).unwrap_or_default();
            assert!(list.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)), "{name} of {path}: {list}");
        };
        allows("access-control-allow-methods", method.as_str());
        allows("access-control-allow-headers", "content-type");
    }

    async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    /// What the page with the list of instances reads of its only item.
    async fn only_instance(&mut self) -> (String, bool) {
        let answer = self.call(Method::GET, "/api/v2/user/instance", None).await;
        let [instance] = &answer.data().as_array().unwrap()[..] else { panic!("{answer:?}") };
        assert!(instance["_id"].is_string() && instance["userId"].is_string(), "{instance}");
        (instance["backendId"].as_str().unwrap().to_owned(), instance["running"].as_bool().unwrap())
    }
}

async fn world() -> World {
    World::with(1, &[("FRONTEND_URL", PAGE)]).await
}

#[tokio::test]
async fn pages_of_dockhost_v2_sign_up_and_sign_in() {
    let world = world().await;
    let mut page = Page::open(&world);
    let person = json!({ "username": "ada", "email": "ada@example.org", "password": "correct horse" });
    assert_eq!(page.post("/api/v2/user/signup", person).await.status, 201);
    page.cookie = None;
    let credentials = json!({ "username": "ada", "password": "correct horse" });
    assert_eq!(page.post("/api/v2/user/signin", credentials.clone()).await.status, 200);
    assert_eq!(page.call(Method::GET, "/api/v2/user/instance", None).await.data(), &json!([]));

    let machine = json!({ "username": "lab-1", "password": "correct horse", "opearatingSystem": "Debian 13" });
    let registered = page.post("/api/v2/backend/signup", machine.clone()).await;
    assert_eq!(registered.status, 201, "{registered:?}");
    assert!(registered.data()["DOCKHOST_API_KEY"].is_string(), "{registered:?}");
    assert_eq!(registered.data()["backend"]["operatingSystem"], "Debian 13");
    // The page for backends signs in as a user.
    let as_user = page.post("/api/v2/user/signin", json!({ "username": "lab-1", "password": "correct horse" })).await;
    assert_eq!((as_user.status, as_user.code()), (401, "invalid_credentials"));
}

#[tokio::test]
async fn pages_of_dockhost_v2_start_stop_resume_and_delete_an_instance() {
    let mut world = world().await;
    world.add_agent("alpha", 5).await;
    let mut page = Page::open(&world);
    let person = json!({ "username": "ada", "email": "ada@example.org", "password": "correct horse" });
    page.post("/api/v2/user/signup", person).await;

    let started = page.post(INSTANCES, json!({ "SSH_PUB_KEY": SSH_KEY })).await;
    assert_eq!(started.status, 201, "{started:?}");
    let instance = started.data();
    let ports = ["sshPort", "httpPort", "httpsPort"].map(|port| instance[port].clone());
    assert_eq!(instance["allocatedPorts"], json!([[ports[0], 22], [ports[1], 80], [ports[2], 443]]));
    assert_eq!(instance["updatedAt"], instance["lastActivity"]);
    let backend = &instance["backend"];
    assert_eq!(backend["_id"], instance["backendId"]);
    assert_eq!((&backend["username"], &backend["LAN_IP"]), (&json!("alpha"), &json!("127.0.0.1")), "{backend}");

    let (backend, running) = page.only_instance().await;
    assert!(running);
    let which = json!({ "backendId": backend });
    for (path, running) in [(STOP, false), (RESUME, true)] {
        assert_eq!(page.call(Method::PUT, path, Some(which.clone())).await.status, 200, "{path}");
        assert_eq!(page.only_instance().await, (backend.clone(), running), "{path}");
    }
    assert_eq!(page.call(Method::DELETE, INSTANCES, Some(which.clone())).await.status, 200);
    assert_eq!(page.call(Method::GET, INSTANCES, None).await.data(), &json!([]));
    let again = page.call(Method::DELETE, INSTANCES, Some(which)).await;
    assert_eq!((again.status, again.code()), (404, "not_found"));
    world.verify().await;
}

/// Other clients of that server use the paths that it has.
#[tokio::test]
async fn clients_of_dockhost_v2_use_their_names_on_this_apis_paths() {
    let mut world = world().await;
    world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    // A form that nobody filled in.
    let created = ada.post("/api/v2/user/instance", json!({ "SSH_PUB_KEY": "" })).await;
    assert_eq!(created.status, 201, "{created:?}");
    let which = json!({ "backendId": created.data()["backendId"] });
    for path in ["/api/v2/user/instance/stop", "/api/v2/user/instance/resume"] {
        assert_eq!(ada.put(path, which.clone()).await.status, 200, "{path}");
    }
    assert_eq!(ada.delete("/api/v2/user/instance", which).await.status, 200);
}

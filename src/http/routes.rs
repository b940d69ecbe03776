//! A table of routes that cannot forget who may call: each is added together with its access, and the list of all of
//! them can be asked for without a server, so that tests and documents name every one.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::app::App;
use super::extract::caller::{self, Access};

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with `{placeholders}`.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
}

/// Puts one route, behind its guard, into a router.
type Mount = Box<dyn FnOnce(Router<Arc<App>>, &Arc<App>) -> Router<Arc<App>>>;

/// Routes being put together.
#[derive(Default)]
pub struct Routes(Vec<(Route, Mount)>);

impl Routes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn add<H, T>(mut self, filter: MethodFilter, route: Route, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let Route { path, access, .. } = route;
        let mount = move |router: Router<Arc<App>>, app: &Arc<App>| {
            let guarded: MethodRouter<Arc<App>> = match access {
                Access::Open => on(filter, handler),
                Access::User => on(filter, handler).layer(from_fn_with_state(Arc::clone(app), caller::users)),
                Access::Backend => on(filter, handler).layer(from_fn_with_state(Arc::clone(app), caller::backends)),
            };
            router.route(path, guarded)
        };
        self.0.push((route, Box::new(mount)));
        self
    }

    /// Adds a GET.
    #[must_use]
    pub fn get<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, access: Access, handler: H) -> Self {
        self.add(MethodFilter::GET, Route { method: Method::GET, path, access }, handler)
    }

    /// Adds a POST.
    #[must_use]
    pub fn post<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, access: Access, handler: H) -> Self {
        self.add(MethodFilter::POST, Route { method: Method::POST, path, access }, handler)
    }

    /// Adds a PUT.
    #[must_use]
    pub fn put<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, access: Access, handler: H) -> Self {
        self.add(MethodFilter::PUT, Route { method: Method::PUT, path, access }, handler)
    }

    /// Adds a DELETE.
    #[must_use]
    pub fn delete<H: Handler<T, Arc<App>>, T: 'static>(self, path: &'static str, access: Access, handler: H) -> Self {
        self.add(MethodFilter::DELETE, Route { method: Method::DELETE, path, access }, handler)
    }

    /// What is in it.
    pub fn list(&self) -> Vec<Route> {
        self.0.iter().map(|(route, _)| route.clone()).collect()
    }

    /// The router, with every route behind its guard.
    pub fn mount(self, app: &Arc<App>) -> Router<Arc<App>> {
        self.0.into_iter().fold(Router::new(), |router, (_, mount)| mount(router, app))
    }
}

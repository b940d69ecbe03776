//! A router that cannot forget who may call: each route is added together with its access, and the list of all routes
//! can be asked for, so that tests call every one.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::access::{self, Access};
use super::app::App;

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

/// Routes being put together.
pub struct Routes {
    app: Arc<App>,
    router: Router<Arc<App>>,
    list: Vec<Route>,
}

impl Routes {
    /// None yet.
    pub fn new(app: Arc<App>) -> Self {
        Self { app, router: Router::new(), list: Vec::new() }
    }

    fn add<H, T>(mut self, filter: MethodFilter, route: Route, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let guarded: MethodRouter<Arc<App>> = match route.access {
            Access::Open => on(filter, handler),
            Access::User => on(filter, handler).layer(from_fn_with_state(Arc::clone(&self.app), access::users)),
            Access::Backend => on(filter, handler).layer(from_fn_with_state(Arc::clone(&self.app), access::backends)),
        };
        self.router = self.router.route(route.path, guarded);
        self.list.push(route);
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

    /// The router, and the list of what is in it.
    pub fn finish(self) -> (Router<Arc<App>>, Vec<Route>) {
        (self.router, self.list)
    }
}

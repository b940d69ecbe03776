//! Paths of instances without `user/`.

/// The path of a user's instances.
pub const INSTANCES: &str = "/api/v2/instance";
/// The path that stops one.
pub const STOP: &str = "/api/v2/instance/stop";
/// The path that resumes one.
pub const RESUME: &str = "/api/v2/instance/resume";

/// Each path, with this API's own path of the same endpoints.
pub const PATHS: [(&str, &str); 3] = [
    (INSTANCES, "/api/v2/user/instance"),
    (STOP, "/api/v2/user/instance/stop"),
    (RESUME, "/api/v2/user/instance/resume"),
];

/// This API's own path of a route.
pub fn own_path(route: &str) -> &str {
    PATHS.into_iter().find(|(path, _)| *path == route).map_or(route, |(_, own)| own)
}

//! Whether a request with a cookie comes from our own pages.
//!
//! A browser adds the cookie to requests of every page on the same host, whatever its port: also to those of the web
//! servers in instances, where other users put what they like. `SameSite` does not help, because ports are not part of a
//! site. Programs send none of the headers that are checked here.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, header};

/// How the page that sends the request is related to this server; set by browsers, over TLS and to localhost.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether one of our own pages, a page of the frontend, or no page at all sends the request.
pub fn is_own(uri: &Uri, headers: &HeaderMap, frontend: Option<&str>) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let origin = text(header::ORIGIN);
    if origin.is_some() && origin == frontend {
        return true;
    }
    match (text(SEC_FETCH_SITE), origin) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, None) => true,
        (None, Some(origin)) => {
            // HTTP/2 has the host in the URI.
            let host = text(header::HOST).or_else(|| uri.authority().map(Authority::as_str));
            origin.split_once("://").map(|(_, authority)| authority) == host
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_of_another_page_is_not_our_own() {
        let frontend = "https://app.example.org";
        for (headers, expected) in [
            (&[][..], true),
            (&[("host", "box:3001"), ("origin", "http://box:3001")], true),
            (&[("host", "box:3001"), ("origin", "http://box:28999")], false),
            (&[("host", "box:3001"), ("origin", "null")], false),
            (&[("host", "box:3001"), ("origin", "http://evil.example")], false),
            (&[("host", "box:3001"), ("origin", frontend)], true),
            (&[("host", "box:3001"), ("origin", frontend), ("sec-fetch-site", "cross-site")], true),
            // Behind a proxy that changes `Host`.
            (&[("host", "server-1:3001"), ("origin", "https://box"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "box:3001"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "box:3001"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "box:3001"), ("origin", "http://box:28999"), ("sec-fetch-site", "same-site")], false),
            (&[("origin", "http://box:3001")], false),
        ] {
            let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(is_own(&Uri::from_static("/"), &map, Some(frontend)), expected, "{headers:?}");
        }
        let without_frontend = [(header::ORIGIN, frontend.parse().unwrap())].into_iter().collect();
        assert!(!is_own(&Uri::from_static("/"), &without_frontend, None));
    }
}

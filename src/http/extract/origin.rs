//! Whether a request with a cookie comes from our own pages.
//!
//! A browser adds the cookie to requests of every page on the same host, whatever its port: also to those of the web
//! servers in instances, where other users put what they like. `SameSite` does not help, because ports are not part of a
//! site. Programs send none of the headers that are checked here.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, header};

/// How the page that sends the request is related to this server; set by browsers, over TLS and to localhost.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The value of a header; empty if it is not text.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// This server's host and port, as the client names it.
fn own_authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    // HTTP/2 has the host in the URI.
    text(headers, header::HOST).or_else(|| uri.authority().map(Authority::as_str))
}

/// Whether a page of a frontend sends the request.
pub fn is_frontend(headers: &HeaderMap, frontends: &[String]) -> bool {
    text(headers, header::ORIGIN).is_some_and(|origin| frontends.iter().any(|frontend| frontend == origin))
}

/// Whether one of our own pages, a page of a frontend, or no page at all sends the request.
pub fn is_own(uri: &Uri, headers: &HeaderMap, frontends: &[String]) -> bool {
    if is_frontend(headers, frontends) {
        return true;
    }
    match (text(headers, SEC_FETCH_SITE), text(headers, header::ORIGIN)) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, None) => true,
        (None, Some(origin)) => origin.split_once("://").map(|(_, authority)| authority) == own_authority(uri, headers),
    }
}

/// Whether a page of another site sends the request: browsers keep the cookies of the answer only if they have
/// `SameSite=None`.
///
/// Browsers say so in `Sec-Fetch-Site`. For those that don't, the hosts are compared: of two names neither of which is
/// below the other, nobody but a browser knows whether they are one site, so they count as two.
pub fn is_cross_site(uri: &Uri, headers: &HeaderMap) -> bool {
    if let Some(site) = text(headers, SEC_FETCH_SITE) {
        return site == "cross-site";
    }
    let origin = text(headers, header::ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
    let own = own_authority(uri, headers).and_then(|authority| authority.parse::<Authority>().ok());
    match (origin.as_ref().and_then(Uri::host), own.as_ref().map(Authority::host)) {
        (Some(page), Some(own)) => page != own && !is_below(page, own) && !is_below(own, page),
        _ => false,
    }
}

/// Whether a name is in the domain of another.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_of_another_page_is_not_our_own() {
        let frontend = "https://app.example.org";
        let frontends = ["https://other.example.org".to_owned(), frontend.to_owned()];
        for (headers, expected) in [
            (&[][..], true),
            (&[("host", "box:3001"), ("origin", "http://box:3001")], true),
            (&[("host", "box:3001"), ("origin", "http://box:28999")], false),
            (&[("host", "box:3001"), ("origin", "null")], false),
            (&[("host", "box:3001"), ("origin", "http://evil.example")], false),
            (&[("host", "box:3001"), ("origin", frontend)], true),
            (&[("host", "box:3001"), ("origin", "https://other.example.org")], true),
            (&[("host", "box:3001"), ("origin", "https://app.example.org.evil.example")], false),
            (&[("host", "box:3001"), ("origin", frontend), ("sec-fetch-site", "cross-site")], true),
            // Behind a proxy that changes `Host`.
            (&[("host", "server-1:3001"), ("origin", "https://box"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "box:3001"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "box:3001"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "box:3001"), ("origin", "http://box:28999"), ("sec-fetch-site", "same-site")], false),
            (&[("origin", "http://box:3001")], false),
        ] {
            let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(is_own(&Uri::from_static("/"), &map, &frontends), expected, "{headers:?}");
        }
        let without_frontend = [(header::ORIGIN, frontend.parse().unwrap())].into_iter().collect();
        assert!(!is_own(&Uri::from_static("/"), &without_frontend, &[]));
    }

    #[test]
    fn cross_site_is_what_the_browser_says_or_else_another_host() {
        for (host, origin, fetch_site, expected) in [
            ("api.example.org", "https://app.example.org", Some("same-site"), false),
            ("api.vercel.app", "https://app.vercel.app", Some("cross-site"), true),
            ("api.example.org", "https://api.example.org", Some("same-origin"), false),
            // Older browsers.
            ("api.example.org", "https://app.vercel.app", None, true),
            ("api.vercel.app", "https://app.vercel.app", None, true),
            ("api.example.org:3001", "https://example.org", None, false),
            ("example.org", "https://app.example.org:8443", None, false),
            ("example.org", "https://notexample.org", None, true),
            ("localhost:3001", "http://localhost:3000", None, false),
            ("127.0.0.1:3001", "http://localhost:3000", None, true),
            ("[::1]:3001", "http://[::1]:3000", None, false),
            ("api.example.org", "null", None, true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            if let Some(site) = fetch_site {
                headers.insert(SEC_FETCH_SITE, site.parse().unwrap());
            }
            assert_eq!(is_cross_site(&Uri::from_static("/"), &headers), expected, "{origin} at {host}, {fetch_site:?}");
        }
        assert!(!is_cross_site(&Uri::from_static("/"), &HeaderMap::new()), "a program");
    }
}

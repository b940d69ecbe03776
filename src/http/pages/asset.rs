//! `GET /assets/{hash}/{name}`: a file that pages load. The hash is that of the content, so browsers keep it for ever.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dockhost_dashboard::assets::{self, Asset};

use crate::http::extract::Path;
use crate::http::response::ApiError;

const FOR_EVER: &str = "public, max-age=31536000, immutable";

pub async fn get(Path((hash, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(Asset { content, gzip, media_type }) = assets::find(&hash, &name) else {
        return ApiError::not_found("file in this version; load the page again").into_response();
    };
    let common = [
        (header::CONTENT_TYPE, media_type.as_str()),
        (header::CACHE_CONTROL, FOR_EVER),
        (header::VARY, "accept-encoding"),
    ];
    match gzip.filter(|_| takes_gzip(&headers)) {
        Some(gzip) => (StatusCode::OK, common, [(header::CONTENT_ENCODING, "gzip")], gzip).into_response(),
        None => (StatusCode::OK, common, content.into_owned()).into_response(),
    }
}

/// Whether the caller takes gzip; a weight of 0 says that it does not.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().trim_start_matches("q=").trim();
        name.trim().eq_ignore_ascii_case("gzip")
            && (weight.is_empty() || weight.parse().is_ok_and(|weight: f32| weight > 0.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_gzip_only_if_it_is_named_with_a_weight() {
        for (accepted, expected) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, gzip;q=0.5", true),
            ("GZIP", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("", false),
        ] {
            let headers = [(header::ACCEPT_ENCODING, accepted.parse().unwrap())].into_iter().collect();
            assert_eq!(takes_gzip(&headers), expected, "{accepted}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}

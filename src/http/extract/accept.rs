//! The header `Accept`.

use axum::http::{HeaderMap, header};

/// Whether the caller asks for this media type. Without the header, or with `*/*` alone, the answer is JSON.
pub fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.into_iter().any(|value| value.contains(media_type))
}
